//! The files of the repository that people write.

use std::fs;
use std::path::Path;

use anyhow::Context;

pub(super) struct File {
    /// From the root, with `/`.
    pub(super) path: String,
    pub(super) text: String,
}

impl File {
    pub(super) fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|it| it == extension)
    }

    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether all of it is compiled for tests only.
    pub(super) fn is_test(&self) -> bool {
        const NAMES: &[&str] = &["tests.rs", "properties.rs", "testing.rs", "conformance.rs"];
        self.path.starts_with("tests/")
            || ["/tests/", "/benches/"].iter().any(|it| self.path.contains(it))
            || NAMES.contains(&self.name())
    }

    /// Lines up to the tests at the bottom of the file.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut lines = self.text.lines().peekable();
        let mut is_over = false;
        let code = std::iter::from_fn(move || {
            let line = lines.next()?;
            let opens_tests =
                line == "#[cfg(test)]" && lines.peek().is_some_and(|it| it.starts_with("mod ") && it.ends_with('{'));
            is_over = is_over || opens_tests;
            (!is_over).then_some(line)
        });
        code.enumerate()
    }
}

const EXTENSIONS: &[&str] =
    &["rs", "toml", "md", "py", "yaml", "yml", "json", "jsonl", "sh", "js", "ts", "html", "css", "txt"];
const SKIPPED: &[&str] = &["target", "dist", "node_modules", "__pycache__"];

pub(super) fn all(root: &Path) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                if !SKIPPED.contains(&name.as_str()) && (!name.starts_with('.') || name == ".ci" || name == ".cargo") {
                    open.push(path);
                }
                continue;
            }
            let is_text = path.extension().and_then(|it| it.to_str()).is_some_and(|it| EXTENSIONS.contains(&it));
            if is_text || name == "run" {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                let path = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
                files.push(File { path, text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}
