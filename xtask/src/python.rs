//! A Python with the packages of `tests/python/requirements.txt`, made once under the target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, anyhow};

use crate::command;
use crate::tidy::metadata::Metadata;

const REQUIREMENTS: &str = "tests/python/requirements.txt";

/// The interpreter's path. Makes the environment when there is none, or when the requirements have changed.
pub(crate) fn interpreter() -> anyhow::Result<PathBuf> {
    let requirements = command::root().join(REQUIREMENTS);
    let wanted = fs::read_to_string(&requirements).with_context(|| requirements.display().to_string())?;
    let target = Metadata::load_workspace()?.target_directory;
    let folder = Path::new(&target).join("python");
    let interpreter = if cfg!(windows) { folder.join("Scripts/python.exe") } else { folder.join("bin/python") };
    // Written last: an environment that was not finished has none.
    let stamp = folder.join("requirements.txt");
    if interpreter.exists() && fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(interpreter);
    }
    make(&folder, &interpreter, &requirements)?;
    fs::write(&stamp, wanted).with_context(|| stamp.display().to_string())?;
    Ok(interpreter)
}

fn make(folder: &Path, interpreter: &Path, requirements: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let python = ["python3", "python"]
        .into_iter()
        .find(|name| command::output(Command::new(name).args(["-c", "import venv"])).is_ok())
        .ok_or_else(|| anyhow!("neither `python3` nor `python` with the module `venv` is on the path"))?;
    command::output(Command::new(python).args(["-m", "venv"]).arg(folder))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    command::output(Command::new(interpreter).args(pip).arg(requirements))
        .context("the packages cannot be installed, without network they have to be in pip's cache")?;
    Ok(())
}
