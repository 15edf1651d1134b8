//! What a user could take instead, as programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::scratch::{self, Took, measure};

/// `cp -r` and a flush.
pub fn copy(from: &Path, to: &Path) -> Result<Took, String> {
    scratch::settle(from)?;
    let took = measure(|| {
        run(Command::new("cp").arg("-r").arg(from).arg(to))?;
        scratch::flush(to)
    })?;
    remove(to)?;
    Ok(took)
}

/// Each file through `openssl enc -d` and `openssl enc`, joined by a pipe, and a flush.
pub fn openssl(from: &Path, to: &Path) -> Result<Took, String> {
    scratch::settle(from)?;
    std::fs::create_dir(to).map_err(|error| format!("{}: {error}", to.display()))?;
    let files: Vec<PathBuf> = scratch::files(from)?;
    let took = measure(|| {
        for file in &files {
            let target = to.join(file.file_name().unwrap_or_default());
            let mut decrypt = enc("-d", '1')
                .arg("-in")
                .arg(file)
                .stdout(Stdio::piped())
                .spawn()
                .map_err(|error| format!("openssl: {error}"))?;
            let piped = decrypt.stdout.take().ok_or("openssl has no output")?;
            run(enc("-e", '2').arg("-out").arg(target).stdin(piped))?;
            let status = decrypt
                .wait()
                .map_err(|error| format!("openssl: {error}"))?;
            if !status.success() {
                return Err(format!("openssl: {status}"));
            }
        }
        scratch::flush(to)
    })?;
    remove(to)?;
    Ok(took)
}

fn enc(direction: &str, digit: char) -> Command {
    let hex = |len: usize| digit.to_string().repeat(len);
    let mut command = Command::new("openssl");
    command.args(["enc", direction, "-aes-256-ctr", "-bufsize", "1048576"]);
    command.args(["-K", &hex(64), "-iv", &hex(32)]);
    command
}

/// True when the program can be run.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name}: {}: {}", output.status, said.trim()))
}

/// Removes what a turn has made, and waits until that is durable: the next one shall not pay for it.
pub fn remove(dir: &Path) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", dir.display());
    std::fs::remove_dir_all(dir).map_err(told)?;
    scratch::flush(dir.parent().unwrap_or(dir))
}
