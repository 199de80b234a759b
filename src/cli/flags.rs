//! Messages of the library speak of settings as a program writes them, `imgsz=640` and `overwrite=true`, and of what can be
//! run as `verify()`, `convert(CACHE, out=NEW)` or `cache_subset()`. On the command line these are `--imgsz 640`, `--overwrite`,
//! `logitcache verify` and `logitcache cache subset`.

use super::args::Cli;
use clap::CommandFactory;
use std::{borrow::Cow, collections::HashSet, iter, sync::OnceLock};

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
        let known = names().commands.contains(command);
        return known.then(|| format!("`logitcache {}{words}`", command.replace('_', " ")));
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
    /// Those of a group as `cache_subset`.
    commands: HashSet<String>,
    options: HashSet<String>,
}

fn names() -> &'static Names {
    static NAMES: OnceLock<Names> = OnceLock::new();
    NAMES.get_or_init(|| {
        let program = Cli::command();
        let commands = || program.get_subcommands();
        let inner = || commands().flat_map(|command| command.get_subcommands());
        let all = || iter::once(&program).chain(commands()).chain(inner());
        let options = all().flat_map(|command| command.get_opts()).filter_map(|option| option.get_long());
        let in_group = |group: &clap::Command| {
            let name = |command: &clap::Command| format!("{}_{}", group.get_name(), command.get_name());
            group.get_subcommands().map(name).collect::<Vec<_>>()
        };
        Names {
            commands: commands()
                .map(|command| command.get_name().to_owned())
                .chain(commands().flat_map(in_group))
                .collect(),
            options: options.map(str::to_owned).collect(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    #[test]
    fn settings_become_options() {
        for (text, shown) in [
            ("Leave `imgsz=` out", "Leave --imgsz out"),
            ("Build with `store=cls`, or `overwrite=true`.", "Build with --store cls, or --overwrite."),
            ("`cls_loss=bckd` or `augment=false`", "--cls-loss bckd or --no-augment"),
            ("`map=\"traffic light=cat\"`", "--map \"traffic light=cat\""),
            ("Run `verify()`", "Run `logitcache verify`"),
            ("`convert(a b, profile=dense, out=NEW)`", "`logitcache convert a b --profile dense --out NEW`"),
            (
                "`cache_subset()` or `cache_merge(shards=true)`",
                "`logitcache cache subset` or `logitcache cache merge --shards`",
            ),
            ("name another with `cache_dir=` or", "name another with --cache-dir or"),
            ("Start it with `reviews=FILE`", "Start it with --reviews FILE"),
            ("the list `images` and `end2end=False`, a ` alone", "the list `images` and `end2end=False`, a ` alone"),
            ("`train:` `imgsz=", "`train:` `imgsz="),
            ("plain", "plain"),
        ] {
            assert_eq!(as_flags(text), shown);
        }
    }

    /// Files whose texts name options as the command line has them: the command that drew a data set, as its `data.yaml`
    /// tells; another program's options; the description of the HTTP API.
    const WITH_OPTIONS: [&str; 3] = ["src/dataset/synth/mod.rs", "src/remote/credentials.rs", "src/serve/openapi.rs"];

    #[test]
    fn messages_of_the_library_name_what_the_program_has_and_no_option() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (mut open, mut seen) = (["src", "format/src", "trainer/src"].map(|folder| root.join(folder)).to_vec(), 0);
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            let file = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let is_test = file.contains("/tests/") || file.ends_with("/tests.rs");
            if !file.ends_with(".rs") || file.contains("/cli/") || is_test || WITH_OPTIONS.contains(&file.as_str()) {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
                for quoted in line.split('`').skip(1).step_by(2) {
                    let name =
                        quoted.trim_start_matches(|letter: char| letter.is_ascii_alphanumeric() || letter == '_');
                    if name.len() < quoted.len() && name.starts_with(['=', '(']) {
                        assert!(translated(quoted).is_some(), "{file}: the program has no `{quoted}`");
                        seen += 1;
                    }
                    assert!(!quoted.starts_with("logitcache "), "{file}: `{quoted}` should be `command()`");
                }
                for option in line.split("--").skip(1) {
                    let end = option.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(option.len());
                    let name = &option[..end];
                    assert!(
                        !names().options.contains(name),
                        "{file}: --{name} should be `{}=`",
                        name.replace('-', "_")
                    );
                }
            }
        }
        assert!(seen > 200, "only {seen} settings and commands were found");
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
