//! What a step sends: the arguments of a call; of what is said last, noted down or handed over its text and its output too.

use martingale_schemas::{Kind, Step};

use super::walk::{self, Leaf};
use crate::quote::quoted;

/// Calls `visit` with each text and number of what a step sends, however long, and with each name of a member of so many bytes or
/// more. Paths in the output and the text begin with the name of their field.
pub(super) fn leaves(step: &Step<'_>, name_min: usize, visit: &mut impl FnMut(Leaf<'_>)) {
    if let Some(input) = step.input.as_ref() {
        walk::all_leaves_and_names(input.get(), name_min, visit);
    }
    // A call sends its arguments alone.
    if step.kind == Kind::ToolCall {
        return;
    }
    let mut path = String::new();
    let mut visit_in = |field: &str, leaf: Leaf<'_>| {
        path.clear();
        path.push_str(field);
        if !leaf.path.is_empty() && !leaf.path.starts_with('[') {
            path.push('.');
        }
        path.push_str(leaf.path);
        visit(Leaf { path: &path, ..leaf });
    };
    if let Some(output) = step.output.as_ref() {
        walk::all_leaves_and_names(output.get(), name_min, &mut |it| visit_in("output", it));
    }
    if let Some(text) = step.text.as_deref() {
        walk::all_text_and_names(text, name_min, &mut |it| visit_in("text", it));
    }
}

/// Whether a part of what a step sends was cut off before it came here.
pub(crate) fn is_cut(step: &Step<'_>) -> bool {
    let others = step.output_cut.is_some() || step.text_cut.is_some();
    step.input_cut.is_some() || step.kind != Kind::ToolCall && others
}

/// An argument in a sentence. One that is all of the input has no path, and what a cut leaves of an input has none either.
pub(crate) fn argument(path: &str, step: &Step<'_>) -> String {
    match path {
        "" if step.input_cut.is_some() => "the uncut part of the input".to_owned(),
        "" => "the input".to_owned(),
        path => format!("`{}`", quoted(path, 60)),
    }
}
