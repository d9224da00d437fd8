// SPDX-License-Identifier: GPL-2.0

//! The manual page, made from the command line's own description.

use crate::cli::Args;
use clap::{
    Arg,
    Command,
    CommandFactory, //
};
use clap_mangen::{
    roff::{
        bold,
        italic,
        roman,
        Inline,
        Roff, //
    },
    Man,
};
use std::io::{
    self,
    Write, //
};

/// Writes `bentoctl(8)`.
pub fn write(out: &mut dyn Write) -> io::Result<()> {
    let mut command = Args::command().disable_help_subcommand(true);
    command.build();
    let man = Man::new(command.clone())
        .section("8")
        .manual("System Administration")
        .source("Bento")
        .date("");
    writeln!(out, ".\\\" SPDX-License-Identifier: GPL-2.0")?;
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    commands(&command).to_writer(out)?;
    man.render_options_section(out)?;
    rest().to_writer(out)
}

fn commands(command: &Command) -> Roff {
    let mut page = Roff::new();
    page.control("SH", ["COMMANDS"]);
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let mut line: Vec<Inline> = vec![bold(sub.get_name())];
        for argument in sub.get_positionals() {
            let name = italic(argument.get_id().as_str().to_uppercase());
            match argument.is_required_set() {
                true => line.extend([roman(" "), name]),
                false => line.extend([roman(" ["), name, roman("]")]),
            }
        }
        for option in options(sub) {
            line.push(roman(" ["));
            line.extend(usage(option));
            line.push(roman("]"));
        }
        page.control("TP", []);
        page.text(line);
        page.text([roman(format!("{}.", about(sub.get_about())))]);
        for option in options(sub) {
            page.control("RS", []);
            page.control("TP", []);
            page.text(usage(option));
            let values: Vec<String> = option
                .get_possible_values()
                .iter()
                .filter(|_| option.get_action().takes_values())
                .map(|value| value.get_name().to_owned())
                .collect();
            let mut text = about(option.get_help());
            if !values.is_empty() {
                text = format!("{text}: {}", values.join(", "));
            }
            page.text([roman(format!("{text}."))]);
            page.control("RE", []);
        }
    }
    page
}

/// Options of a command's own.
fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|argument| {
        let own = !argument.is_global_set() && !argument.is_hide_set();
        own && !argument.is_positional() && argument.get_id() != "help"
    })
}

/// `--count NUMBER`
fn usage(option: &Arg) -> Vec<Inline> {
    let mut line = vec![bold(format!("--{}", option.get_long().unwrap_or_default()))];
    if !option.get_action().takes_values() {
        return line;
    }
    let value = option.get_value_names().and_then(<[_]>::first);
    let value = italic(value.map_or("VALUE", |name| name.as_str()));
    let optional = option
        .get_num_args()
        .is_some_and(|number| number.min_values() == 0);
    match (optional, option.is_require_equals_set()) {
        (true, _) => line.extend([roman("[="), value, roman("]")]),
        (false, true) => line.extend([roman("="), value]),
        (false, false) => line.extend([roman(" "), value]),
    }
    line
}

fn about(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

fn rest() -> Roff {
    let mut page = Roff::new();
    page.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in [
        ("0", "Done, or found."),
        (
            "1",
            "Refused, or failed: nothing was changed, and standard error says why.",
        ),
        ("2", "The command line was not understood."),
    ] {
        page.control("TP", []);
        page.text([bold(status)]);
        page.text([roman(meaning)]);
    }
    page.control("SH", ["NOTES"]);
    page.text([roman(
        "A mount goes on while its code is replaced: open files, mappings, locks and dirty pages \
         stay. What is refused leaves the mount as it was. Only root in the initial user namespace \
         may replace code.",
    )]);
    page.control("PP", []);
    page.text([
        roman("With "),
        bold("--json"),
        roman(
            " a refusal is a document on standard output too, with the members what, error, why \
             and remedy. All times are in nanoseconds.",
        ),
    ]);
    page.control("PP", []);
    page.text([
        bold("watch"),
        roman(
            " receives the kernel's uevents by netlink; where that is not possible it looks at \
             sysfs each second, and says so.",
        ),
    ]);
    page.control("SH", ["EXAMPLES"]);
    page.control("TP", []);
    page.text([bold("bentoctl upgrade /mnt xv6-prov --load --dry-run")]);
    page.text([roman("Could xv6-prov take over /mnt?")]);
    page.control("TP", []);
    page.text([bold(
        "bentoctl --json status | jq '.mounts[].last.pause_ns'",
    )]);
    page.text([roman("The pause of each mount's last upgrade.")]);
    page.control("SH", ["FILES"]);
    page.text([
        italic("/sys/fs/bento/implementations"),
        roman(", "),
        italic("/sys/fs/bento/mounts"),
    ]);
    page.control("SH", ["SEE ALSO"]);
    page.text([
        bold("bento_upgrade"),
        roman("(2), "),
        bold("fsfreeze"),
        roman("(8), "),
        bold("modprobe"),
        roman("(8)"),
    ]);
    page
}
