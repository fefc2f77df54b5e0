//! Reads links, in one line (`camera -> detect -> log [durable, window=128]`) or as a map.

use indexmap::IndexMap;

use super::{Decoder, Fields, Shape};
use crate::{
    qos::{LinkQos, OnFull, QosMode},
    source::Mark,
    suggest,
    system::{DEFAULT_INPUT, DEFAULT_OUTPUT, Link, NodeSpec, PortRef},
    yaml::{Node, Scalar, Value},
};

/// Fields of a link in map form.
pub(crate) const LINK: Shape = Shape {
    what: "a link",
    known: &[
        "from",
        "to",
        "qos",
        "max_age",
        "window",
        "window_bytes",
        "on_full",
        "ordered",
        "order_timeout",
    ],
    unsupported: UNSUPPORTED,
    elsewhere: &[],
};

/// Options in brackets behind a link.
const OPTIONS: [&str; 4] = ["max_age", "window", "window_bytes", "on_full"];

const UNSUPPORTED: &[(&str, &str)] = &[
    ("max_lag", "it belongs to `balanced` links"),
    (
        "transport",
        "it is chosen for each link and shown by `edgeflow plan`",
    ),
    ("broker", "links stay on one device and need no broker"),
];

const WINDOW_MAX: u32 = 65_536;
/// Most bytes that a durable link may hold.
const WINDOW_BYTES_MAX: u64 = 1 << 32;

/// The options of a link before its policy is known: text and place of each.
#[derive(Debug, Default)]
struct Options<'t> {
    mode: Option<(&'t str, Mark)>,
    values: Vec<(&'t str, &'t str, Mark)>,
}

/// The ends of links by name.
type Nodes = IndexMap<String, NodeSpec>;

/// Replaces the spaces behind colons in unquoted link options by no-break spaces, one for one, so
/// that `- a -> b [durable, window: 8, on_full: fail]` is the plain text that people mean by it.
pub(crate) fn mask_links(text: &str) -> String {
    let mut masked = String::with_capacity(text.len() + 16);
    for line in text.split_inclusive('\n') {
        let item = line.trim_start().strip_prefix("- ").map(str::trim_start);
        let open = line.find('[');
        match (item, open) {
            (Some(item), Some(open))
                if item.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && line.find("->").is_some_and(|arrow| arrow < open)
                    && !line[..open].contains([':', '#', '"', '\'']) =>
            {
                masked.push_str(&line[..open]);
                let close = line
                    .rfind(']')
                    .filter(|close| *close > open)
                    .unwrap_or(line.len());
                masked.push_str(&line[open..close].replace(": ", ":\u{a0}"));
                masked.push_str(&line[close..]);
            }
            _ => masked.push_str(line),
        }
    }
    masked
}

impl Decoder<'_> {
    pub(super) fn links(&mut self, spec: &Fields<'_>, nodes: &Nodes) -> Vec<Link> {
        let mut links = Vec::new();
        let Some(list) = spec.get("links") else {
            return links;
        };
        self.marks.set("links", spec.key_mark("links"));
        let Value::Sequence(items) = &list.value else {
            self.wrong_type(list, "links", "a list");
            return links;
        };
        let before = self.problems.len();
        for item in items {
            match &item.value {
                Value::Scalar(Scalar { text, .. }) if !item.is_null() => {
                    self.compact(item, text, nodes, &mut links);
                }
                Value::Mapping(_) => self.map_link(item, nodes, &mut links),
                _ => self.wrong_type(item, "a link", "`from -> to` or a map"),
            }
        }
        if self.problems.len() > before {
            self.marks.set_links_incomplete();
        }
        links
    }

    fn map_link(&mut self, item: &Node, nodes: &Nodes, links: &mut Vec<Link>) {
        let Some(fields) = self.fields(item, &LINK) else {
            return;
        };
        let mut options = Options::default();
        let text_of = |this: &mut Self, field: &'static str| {
            let node = fields.get(field)?;
            Some((this.plain(node, field)?, node.mark))
        };
        options.mode = text_of(self, "qos");
        for field in OPTIONS.into_iter().chain(super::order::OPTIONS) {
            if let Some((text, mark)) = text_of(self, field) {
                options.values.push((field, text, mark));
            }
        }
        let from = self.required(&fields, "from");
        let to = self.required(&fields, "to");
        let (Some(from), Some(to)) = (from, to) else {
            return;
        };
        let (Some(from_text), Some(to_text)) = (self.text(from, "from"), self.text(to, "to"))
        else {
            return;
        };
        let from_ref = self.endpoint(from_text, from.mark, nodes, true);
        let to_ref = self.endpoint(to_text, to.mark, nodes, false);
        let qos = self.qos(&options);
        if let (Some(from_ref), Some(to_ref), Some(qos)) = (from_ref, to_ref, qos) {
            self.set_link_marks(links.len(), item.mark, from.mark, to.mark, &options);
            links.push(Link {
                from: from_ref,
                to: to_ref,
                qos,
            });
        }
    }

    fn compact(&mut self, item: &Node, text: &str, nodes: &Nodes, links: &mut Vec<Link>) {
        let (chain, bracket) = match text.find('[') {
            Some(open) => (&text[..open], Some(&text[open..])),
            None => (text, None),
        };
        let offset = |part: &str| {
            text[..part.as_ptr() as usize - text.as_ptr() as usize]
                .chars()
                .count()
        };
        let part_mark = |part: &str| item.part(offset(part), part.chars().count());
        let mut options = Options::default();
        if let Some(bracket) = bracket {
            let Some(inner) = bracket
                .trim_end()
                .strip_prefix('[')
                .and_then(|b| b.strip_suffix(']'))
            else {
                let hint = "options look like `[durable, window=128]` and end the line";
                self.error(
                    "invalid-link",
                    part_mark(bracket),
                    "the options are not closed",
                    hint,
                );
                return;
            };
            options = split_options(inner, part_mark);
        }
        let names: Vec<&str> = chain.split("->").map(str::trim).collect();
        if names.len() < 2 || names.iter().any(|name| name.is_empty()) {
            let message = format!("`{}` is not a link", chain.trim());
            let hint = "a link looks like `camera -> detect`, and `->` may go on";
            self.error("invalid-link", part_mark(chain.trim()), message, hint);
            return;
        }
        let Some(qos) = self.qos(&options) else {
            return;
        };
        for pair in names.windows(2) {
            let (from_mark, to_mark) = (part_mark(pair[0]), part_mark(pair[1]));
            let from = self.endpoint(pair[0], from_mark, nodes, true);
            let to = self.endpoint(pair[1], to_mark, nodes, false);
            if let (Some(from), Some(to)) = (from, to) {
                let length = offset(pair[1]) + pair[1].chars().count() - offset(pair[0]);
                let whole = item.part(offset(pair[0]), length);
                self.set_link_marks(links.len(), whole, from_mark, to_mark, &options);
                links.push(Link {
                    from,
                    to,
                    qos: qos.clone(),
                });
            }
        }
    }

    fn set_link_marks(
        &mut self,
        index: usize,
        link: Mark,
        from: Mark,
        to: Mark,
        options: &Options<'_>,
    ) {
        self.marks.set(format!("links.{index}"), link);
        self.marks.set(format!("links.{index}.from"), from);
        self.marks.set(format!("links.{index}.to"), to);
        if let Some((_, mark)) = options.mode {
            self.marks.set(format!("links.{index}.qos"), mark);
        }
    }

    /// `node` or `node.port`. Whether they exist is checked later.
    fn endpoint(
        &mut self,
        text: &str,
        mark: Mark,
        nodes: &Nodes,
        is_from: bool,
    ) -> Option<PortRef> {
        let bad = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if text.contains(bad) || text.is_empty() || text.split('.').count() > 2 {
            self.error(
                "invalid-link",
                mark,
                format!("`{text}` is neither a node nor `node.port`"),
                "a link looks like `camera -> detect` or `split.left -> view.in`",
            );
            return None;
        }
        if let Some((node, port)) = text.split_once('.') {
            return Some(PortRef::new(node, port));
        }
        let port = match (nodes.get(text), is_from) {
            (Some(node), true) => node.default_output(),
            (Some(node), false) => node.default_input(),
            (None, true) => DEFAULT_OUTPUT.to_owned(),
            (None, false) => DEFAULT_INPUT.to_owned(),
        };
        Some(PortRef::new(text, port))
    }

    fn qos(&mut self, options: &Options<'_>) -> Option<LinkQos> {
        let before = self.problems.len();
        let mut qos = LinkQos::realtime();
        if let Some((text, mark)) = options.mode {
            qos = self.mode(text, mark)?;
        }
        for (name, text, mark) in &options.values {
            if !super::order::OPTIONS.contains(name) {
                self.option(&mut qos, name, text, *mark);
            }
        }
        self.order(&mut qos, &options.values);
        (self.problems.len() == before).then_some(qos)
    }

    fn mode(&mut self, text: &str, mark: Mark) -> Option<LinkQos> {
        if text == "balanced" {
            self.error(
                "not-supported",
                mark,
                "`balanced` links are not supported by this version",
                "use `realtime` to see the newest frame or `durable` to lose none",
            );
            return None;
        }
        let words = [
            ("realtime", QosMode::Realtime),
            ("durable", QosMode::Durable),
        ];
        match self.word(text, mark, "qos", &words)? {
            QosMode::Realtime => Some(LinkQos::realtime()),
            QosMode::Durable => Some(LinkQos::durable()),
        }
    }

    fn option(&mut self, qos: &mut LinkQos, name: &str, text: &str, mark: Mark) {
        let wanted = if name == "max_age" {
            QosMode::Realtime
        } else {
            QosMode::Durable
        };
        if OPTIONS.contains(&name) && qos.mode != wanted {
            let mode = if wanted == QosMode::Durable {
                "durable"
            } else {
                "realtime"
            };
            self.error(
                "qos-option",
                mark,
                format!("`{name}` belongs to `{mode}` links"),
                format!("make the link `{mode}` or remove `{name}`"),
            );
            return;
        }
        match name {
            "max_age" => match self.duration_text(text, mark, name) {
                Some(value) if value > 0 => qos.max_age_ms = u32::try_from(value).ok(),
                Some(_) => self.error("out-of-range", mark, "`max_age` has to be above 0", ""),
                None => {}
            },
            "window" => match text.parse::<u32>() {
                Ok(value) if (1..=WINDOW_MAX).contains(&value) => qos.window_frames = value,
                _ => self.error(
                    "out-of-range",
                    mark,
                    format!("`window` can't be {text}"),
                    format!(
                        "it counts frames, from 1 to {WINDOW_MAX}; `window_bytes` takes a size"
                    ),
                ),
            },
            "window_bytes" => match self.bytes_text(text, mark, name) {
                Some(value) if (1..=WINDOW_BYTES_MAX).contains(&value) => qos.window_bytes = value,
                Some(_) => {
                    self.error(
                        "out-of-range",
                        mark,
                        "`window_bytes` is out of range",
                        "at most `4GiB`",
                    );
                }
                None => {}
            },
            "on_full" => {
                if let Some(policy) = self.on_full(text, mark) {
                    qos.on_full = policy;
                }
            }
            other => self.unknown_option(other, mark),
        }
    }

    fn on_full(&mut self, text: &str, mark: Mark) -> Option<OnFull> {
        if text == "spill" {
            self.error(
                "not-supported",
                mark,
                "`on_full: spill` is not supported by this version",
                "use `block` to make the producer wait or `fail` to let its node decide",
            );
            return None;
        }
        self.word(
            text,
            mark,
            "on_full",
            &[("block", OnFull::Block), ("fail", OnFull::Fail)],
        )
    }

    fn unknown_option(&mut self, name: &str, mark: Mark) {
        if let Some((_, why)) = UNSUPPORTED.iter().find(|(field, _)| *field == name) {
            let message = format!("`{name}` is not supported by this version");
            self.error("not-supported", mark, message, format!("remove it: {why}"));
            return;
        }
        let known = OPTIONS.into_iter().chain(super::order::OPTIONS);
        let hint = suggest::hint(name, known, "option");
        self.error(
            "unknown-field",
            mark,
            format!("a link has no option `{name}`"),
            hint,
        );
    }
}

/// `durable, window=128` taken apart. A word alone is the policy, but for `ordered`.
fn split_options<'t>(inner: &'t str, mark: impl Fn(&str) -> Mark) -> Options<'t> {
    let mut options = Options::default();
    for item in inner
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
    {
        match item.split_once(['=', ':']) {
            Some((name, value)) if name.trim() == "qos" => {
                options.mode = Some((value.trim(), mark(value.trim())));
            }
            Some((name, value)) => options.values.push((name.trim(), value.trim(), mark(item))),
            None if options.mode.is_none() && item != "ordered" => {
                options.mode = Some((item, mark(item)));
            }
            None => options.values.push((item, "", mark(item))),
        }
    }
    options
}
