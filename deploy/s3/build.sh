#!/bin/sh
# Builds `versitygw`, the S3-compatible server that history is tested against (Apache-2.0), in the version beside this
# file. Needs Go 1.25 or later.
#   build.sh DIR
# By hand: DIR/versitygw --port 127.0.0.1:7070 --access me --secret … posix --sidecar META BUCKETS
# where BUCKETS is a folder with a folder for each bucket, and META an empty one.
set -e
export GOTOOLCHAIN=local GOFLAGS=-trimpath GOBIN="$1"
exec go install "github.com/versity/versitygw/cmd/versitygw@$(cat "${0%/*}/VERSION")"
