//! What tests of enforcement share.
