//! Messages of the library speak of settings as a program writes them, `imgsz=640` and `overwrite=true`, and of what can be
//! run as `verify()` or `convert(CACHE, out=NEW)`. On the command line these are `--imgsz 640`, `--overwrite` and `logitcache verify`.

use super::args::Cli;
use clap::CommandFactory;
use std::{borrow::Cow, collections::HashSet, sync::OnceLock};

/// Settings that are on unless a flag turns them off.
const TURNED_OFF: [(&str, &str); 2] = [("augment", "--no-augment"), ("models", "--no-models")];

/// The text as a user of the command line reads it. What is in backquotes and is neither an option nor a command stays.
pub fn as_flags(text: &str) -> Cow<'_, str> {
    if !text.contains('`') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('`') {
        out.push_str(&rest[..start]);
        let quoted = &rest[start + 1..];
        let end = quoted.find(['`', '\n']).filter(|&end| quoted[end..].starts_with('`'));
        match end.and_then(|end| Some((end, translated(&quoted[..end])?))) {
            Some((end, flag)) => {
                out.push_str(&flag);
                rest = &quoted[end + 1..];
            }
            None => {
                out.push('`');
                rest = quoted;
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// `imgsz=640`, `overwrite=true` or `verify()` as on the command line.
fn translated(text: &str) -> Option<String> {
    if let Some((command, arguments)) = text.strip_suffix(')').and_then(|call| call.split_once('(')) {
        let arguments = arguments.split(", ").filter(|argument| !argument.is_empty());
        let words = arguments.map(|argument| translated(argument).unwrap_or_else(|| argument.to_owned()));
        let words: String = words.map(|word| format!(" {word}")).collect();
        return names().commands.contains(command).then(|| format!("`logitcache {command}{words}`"));
    }
    let (name, value) = text.split_once('=')?;
    if let Some((_, flag)) = TURNED_OFF.iter().find(|(setting, _)| *setting == name && value == "false") {
        return Some((*flag).to_owned());
    }
    let option = name.replace('_', "-");
    names().options.contains(&option).then(|| match value {
        "" | "true" => format!("--{option}"),
        value => format!("--{option} {value}"),
    })
}

/// The other way round, for who calls a command as a function: `--top-k`, `'--top-k <N>'` become `top_k=`.
pub fn as_settings(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("--") {
        let (before, flag) = rest.split_at(start);
        out.push_str(before);
        let name = &flag[2..];
        let name = &name[..name.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(name.len())];
        if !names().options.contains(name) {
            out.push_str("--");
            rest = &flag[2..];
            continue;
        }
        out.push_str(&name.replace('-', "_"));
        out.push('=');
        rest = &flag[2 + name.len()..];
        // The name of the value, which stands in angle brackets in a help text.
        if let Some((_, after)) = rest.strip_prefix(" <").and_then(|value| value.split_once('>')) {
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// What the program takes.
struct Names {
    commands: HashSet<String>,
    options: HashSet<String>,
}

fn names() -> &'static Names {
    static NAMES: OnceLock<Names> = OnceLock::new();
    NAMES.get_or_init(|| {
        let program = Cli::command();
        let commands = || program.get_subcommands();
        let all = || commands().chain(commands().flat_map(|command| command.get_subcommands()));
        let options = all().flat_map(|command| command.get_opts()).filter_map(|option| option.get_long());
        Names {
            commands: commands().map(|command| command.get_name().to_owned()).collect(),
            options: options.map(str::to_owned).collect(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_options() {
        for (text, shown) in [
            ("Leave `imgsz=` out", "Leave --imgsz out"),
            ("Build with `store=cls`, or `overwrite=true`.", "Build with --store cls, or --overwrite."),
            ("`cls_loss=bckd` or `augment=false`", "--cls-loss bckd or --no-augment"),
            ("`map=\"traffic light=cat\"`", "--map \"traffic light=cat\""),
            ("Run `verify()`", "Run `logitcache verify`"),
            ("`convert(a b, profile=dense, out=NEW)`", "`logitcache convert a b --profile dense --out NEW`"),
            ("the list `images` and `end2end=False`, a ` alone", "the list `images` and `end2end=False`, a ` alone"),
            ("`train:` `imgsz=", "`train:` `imgsz="),
            ("plain", "plain"),
        ] {
            assert_eq!(as_flags(text), shown);
        }
    }

    #[test]
    fn options_become_settings() {
        for (text, shown) in [
            ("Leave out --top-k, or --profile dense.", "Leave out top_k=, or profile= dense."),
            ("invalid value '2' for '--coverage <FRACTION>': no", "invalid value '2' for 'coverage=': no"),
            ("a -- b --nothing `imgsz=640`", "a -- b --nothing `imgsz=640`"),
            ("--json", "json="),
        ] {
            assert_eq!(as_settings(text), shown);
        }
    }
}
