//! `docs/cli.md`, made from the definitions that also parse the command line.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command, CommandFactory};

use super::Cli;
use super::store::exit;

/// The text before the first command.
const HEAD: &str = "# Command line

Made from the program itself by `UPDATE=1 cargo test --test generated`; do not edit.

One binary, `tikv-security`. On Kubernetes the operator and the agents do all of this by themselves; the commands for a data
directory are for the night when somebody has to look, or for a TiKV without Kubernetes.

";

/// What a person does with it.
const EXAMPLES: &str = "## Examples

What is encrypted, with which key, and is anything wrong? Read-only, also beside a running TiKV:
```sh
tikv-security inspect /var/lib/tikv --config /etc/tikv/tikv.toml
tikv-security watch /var/lib/tikv --config /etc/tikv/tikv.toml      # again and again, until Ctrl-C
```
A gate for a script: everything AES-256, under keys of at most 90 days?
```sh
tikv-security verify /var/lib/tikv --config tikv.toml --require aes256-ctr --max-key-age 2160h --output json
```
Everything under a new data key. TiKV must be stopped; look first, then do it:
```sh
tikv-security reencrypt /var/lib/tikv --config tikv.toml --to aes256-ctr --dry-run
tikv-security reencrypt /var/lib/tikv --config tikv.toml --to aes256-ctr
```
Ctrl-C, SIGTERM, `kill -9`, a crash of the machine: TiKV is held back, and the same command goes on where it stopped. Ctrl-Z, or
`kill -STOP`, makes a pause; `fg`, or `kill -CONT`, ends it. To finish what is open and begin nothing new:
```sh
tikv-security reencrypt /var/lib/tikv --config tikv.toml --resume
```
A new master key, with both keys in files, or both in TiKV's configuration (`master-key` is the new one, `previous-master-key`
the old one). Between a plaintext key and a file, or between the KMS of two vendors, TiKV itself can not do this:
```sh
tikv-security rewrap /var/lib/tikv --master-key-file old.key --new-master-key-file new.key
tikv-security rewrap /var/lib/tikv --config tikv.toml
```
What does a port really serve, and what does it accept that it should refuse? From a pod of the namespace, or by `kubectl port-forward`:
```sh
tikv-security certificate probe basic-tikv-0.basic-tikv-peer.tikv.svc:20160 --ca ca.crt --cert tls.crt --key tls.key
```
How does an application use its client certificate? Mount, PD's addresses and code; ends with 8 while the certificate is not ready:
```sh
kubectl tikv-security client-config orders --namespace shop --for java
```
A volume that is mounted elsewhere, for example in a rescue pod: entries of `file.dict` are paths as TiKV sees them.
```sh
tikv-security inspect /mnt/volume --seen-as /var/lib/tikv --master-key-file master.key
```

## Output
`--output json` and `yaml` print one document on standard output, also for a failure (`error.code`, `.message`, `.remedy`,
`.exitCode`); `watch` prints a JSON line, or a YAML document, a look. Standard error is for people, and for the progress of a
run: a bar on a terminal, otherwise JSON lines (`event`, `filesDone`, `filesTotal`, `bytesDone`, `bytesTotal`,
`bytesPerSecond`, `secondsLeft`). Keys are never printed, only their identifiers.

";

/// The whole page.
pub fn reference() -> String {
    let mut cli = Cli::command();
    cli.build();
    let mut text = HEAD.to_owned();
    text.push_str("| command | does |\n|---|---|\n");
    for command in commands(&cli) {
        let name = command.get_name();
        let _ = writeln!(text, "| [`{name}`](#{name}) | {} |", about(command));
    }
    text.push('\n');
    text.push_str(EXAMPLES);
    text.push_str("## Exit codes\n\nOf the commands for a data directory. The others end with 0, or with 1 and a message, or with 2 when called wrongly.\n\n| code | means |\n|---|---|\n");
    for (code, meaning) in exit::TABLE {
        let _ = writeln!(text, "| {code} | {meaning} |");
    }
    for command in commands(&cli) {
        section(&mut text, "##", command.get_name(), command);
    }
    text
}

fn commands(cli: &Command) -> impl Iterator<Item = &Command> {
    let all = cli.get_subcommands();
    all.filter(|command| command.get_name() != "help" && !command.is_hide_set())
}

fn section(text: &mut String, level: &str, name: &str, command: &Command) {
    let positional: Vec<String> = command
        .get_positionals()
        .map(|arg| {
            let name = value(arg);
            let several = if arg.get_action().takes_values()
                && arg
                    .get_num_args()
                    .is_some_and(|range| range.max_values() > 1)
            {
                "..."
            } else {
                ""
            };
            if arg.is_required_set() {
                format!(" {name}{several}")
            } else {
                format!(" [{name}]{several}")
            }
        })
        .collect();
    let about = about(command);
    let about = about.trim_end_matches('.');
    let _ = writeln!(text, "\n{level} {name}\n\n{about}.");
    let below: Vec<&Command> = commands(command).collect();
    for command in &below {
        let name = format!("{name} {}", command.get_name());
        section(text, &format!("{level}#"), &name, command);
    }
    if !below.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "\n`tikv-security {name}{} [OPTIONS]`\n",
        positional.concat()
    );
    text.push_str("| argument | meaning |\n|---|---|\n");
    let shown =
        |arg: &&Arg| !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version");
    for arg in command.get_arguments().filter(shown) {
        let _ = writeln!(text, "| {} | {} |", spelled(arg), meaning(arg));
    }
}

fn about(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string);
    escaped(&about.unwrap_or_default())
}

fn spelled(arg: &Arg) -> String {
    let Some(long) = arg.get_long() else {
        return format!("`{}`", value(arg));
    };
    let short = arg
        .get_short()
        .map(|short| format!("`-{short}`, "))
        .unwrap_or_default();
    if matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::Count) {
        return format!("{short}`--{long}`");
    }
    escaped(&format!("{short}`--{long} {}`", value(arg)))
}

fn value(arg: &Arg) -> String {
    let names = arg.get_value_names().map(|names| {
        names
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    });
    names.unwrap_or_else(|| arg.get_id().to_string().to_uppercase())
}

fn meaning(arg: &Arg) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let flag = matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::Count);
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|_| !flag)
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !values.is_empty() {
        let _ = write!(text, ": {}", values.join(", "));
    }
    let default: Vec<String> = arg
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy().into_owned())
        .collect();
    if !default.is_empty() && !flag {
        let _ = write!(text, ". Default: `{}`", default.join(" "));
    }
    if arg.is_required_set() {
        text.push_str(". Required");
    }
    escaped(&text)
}

fn escaped(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}
