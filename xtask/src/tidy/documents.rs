//! Links between documents lead somewhere.

use std::path::Path;

use super::Finding;
use super::files::File;

pub(super) fn check(root: &Path, file: &File) -> Vec<Finding> {
    if !file.has_extension("md") {
        return Vec::new();
    }
    let folder = root.join(&file.path);
    let folder = folder.parent().unwrap_or(root);
    let lines = file.text.lines().enumerate();
    let broken = lines.flat_map(|(index, line)| links(line).map(move |link| (index, link)));
    broken
        .filter(|(_, link)| !folder.join(link).exists())
        .map(|(index, link)| Finding::line(file, index, format!("the link to `{link}` leads nowhere")))
        .collect()
}

/// Targets of `[text](target)` that are files, without their `#section`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split(')').next()?.split('#').next()?;
        (!target.is_empty() && !target.contains("://") && !target.starts_with("mailto:")).then_some(target)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn links_that_are_files() {
        let line = "[a](a.md), [b](docs/b.md#part), [c](https://example.org/c.md), [d](#here), (e.md)";
        assert_eq!(super::links(line).collect::<Vec<_>>(), ["a.md", "docs/b.md"]);
    }
}
