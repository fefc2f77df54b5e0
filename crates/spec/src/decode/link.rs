//! Reads links, in one line (`camera -> detect -> log [durable, window=128]`) or as a map.

use std::ops::RangeInclusive;

use indexmap::IndexMap;

use super::{Decoder, Fields, Shape};
use crate::{
    qos::{LinkQos, OnFull, QosMode},
    source::{IMPLIED_SPILL, Mark},
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
        "max_lag",
        "window",
        "window_bytes",
        "on_full",
        "spill",
        "max_deliveries",
        "ordered",
        "order_timeout",
        super::broker::VIA,
    ],
    unsupported: UNSUPPORTED,
    elsewhere: &[],
};

/// Options in brackets behind a link.
const OPTIONS: [&str; 8] = [
    "max_age",
    "max_lag",
    "window",
    "window_bytes",
    "on_full",
    "spill",
    "max_deliveries",
    super::broker::VIA,
];

const UNSUPPORTED: &[(&str, &str)] = &[
    (
        "transport",
        "it is chosen for each link and shown by `edgeflow plan`",
    ),
    ("broker", "say `via=broker`"),
];

const WINDOW_MAX: u32 = 65_536;
/// Most bytes that a durable link may hold.
const WINDOW_BYTES_MAX: u64 = 1 << 32;
/// Least bytes on disk of a link that spills: a few frames.
const SPILL_BYTES_MIN: u64 = 1 << 20;
/// Most bytes on disk of a link that spills.
const SPILL_BYTES_MAX: u64 = 1 << 42;
/// Most lost deliveries before a frame is a dead letter.
const DELIVERIES_MAX: u32 = 1000;

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
        if let (Some(from_ref), Some(to_ref), Some(mut qos)) = (from_ref, to_ref, qos) {
            self.set_link_marks(links.len(), item.mark, from.mark, to.mark, &options);
            self.imply_spill(links.len(), &mut qos, &options, nodes.get(&from_ref.node));
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
                let mut qos = qos.clone();
                self.imply_spill(links.len(), &mut qos, &options, nodes.get(&from.node));
                links.push(Link { from, to, qos });
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

    /// A live source can't wait: unless something else is said, a durable link behind it spills.
    fn imply_spill(
        &mut self,
        index: usize,
        qos: &mut LinkQos,
        options: &Options<'_>,
        producer: Option<&NodeSpec>,
    ) {
        let said = options.values.iter().any(|(name, ..)| *name == "on_full");
        let live = producer.is_some_and(NodeSpec::is_live);
        if qos.mode != QosMode::Durable || qos.on_full == OnFull::Spill || said || !live {
            return;
        }
        qos.on_full = OnFull::Spill;
        let mark = options.mode.map_or_else(Mark::default, |(_, mark)| mark);
        self.marks
            .set(format!("links.{index}.{IMPLIED_SPILL}"), mark);
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
            let is_order = super::order::OPTIONS.contains(name);
            if !is_order && *name != super::broker::VIA && self.belongs(&qos, name, *mark) {
                self.option(&mut qos, name, text, *mark);
            }
        }
        self.order(&mut qos, &options.values);
        self.via(&mut qos, &options.values);
        self.spill_needs_on_full(&mut qos, options);
        (self.problems.len() == before).then_some(qos)
    }

    fn mode(&mut self, text: &str, mark: Mark) -> Option<LinkQos> {
        let words = [QosMode::Realtime, QosMode::Durable, QosMode::Balanced];
        let words = words.map(|mode| (mode.name(), mode));
        self.word(text, mark, "qos", &words).map(LinkQos::new)
    }

    /// Whether an option has a meaning for the policy; says so if not.
    fn belongs(&mut self, qos: &LinkQos, name: &str, mark: Mark) -> bool {
        use QosMode::{Balanced, Durable, Realtime};
        let modes: &[QosMode] = match name {
            "max_age" => &[Realtime, Balanced],
            "max_lag" => &[Balanced],
            "window" | "on_full" | "spill" => &[Durable],
            "window_bytes" | "max_deliveries" => &[Durable, Balanced],
            _ => return true,
        };
        if modes.contains(&qos.mode) {
            return true;
        }
        let names: Vec<String> = modes.iter().map(|m| format!("`{}`", m.name())).collect();
        self.error(
            "qos-option",
            mark,
            format!("`{name}` belongs to {} links", names.join(" and ")),
            format!("make the link {} or remove `{name}`", names[0]),
        );
        false
    }

    /// A byte limit for the disk means that frames go there.
    fn spill_needs_on_full(&mut self, qos: &mut LinkQos, options: &Options<'_>) {
        let given = |wanted| options.values.iter().find(|(name, ..)| *name == wanted);
        let Some((.., mark)) = given("spill").filter(|_| !qos.spills()) else {
            return;
        };
        if given("on_full").is_none() {
            qos.on_full = OnFull::Spill;
            return;
        }
        let message = format!(
            "`spill` has no meaning with `on_full={}`",
            qos.on_full.name()
        );
        self.error(
            "qos-option",
            *mark,
            message,
            "say `on_full=spill` or remove `spill`",
        );
    }

    fn option(&mut self, qos: &mut LinkQos, name: &str, text: &str, mark: Mark) {
        match name {
            "max_age" => match self.duration_text(text, mark, name) {
                Some(value) if value > 0 => qos.max_age_ms = u32::try_from(value).ok(),
                Some(_) => self.error("out-of-range", mark, "`max_age` has to be above 0", ""),
                None => {}
            },
            "window" => {
                let hint = format!(
                    "it counts frames, from 1 to {WINDOW_MAX}; `window_bytes` takes a size"
                );
                self.count(&mut qos.window_frames, name, text, mark, WINDOW_MAX, hint);
            }
            "max_lag" => {
                let hint = format!("it counts frames, from 1 to {WINDOW_MAX}");
                self.count(&mut qos.max_lag, name, text, mark, WINDOW_MAX, hint);
            }
            "max_deliveries" => {
                let hint = format!("it counts deliveries, from 1 to {DELIVERIES_MAX}");
                self.count(
                    &mut qos.max_deliveries,
                    name,
                    text,
                    mark,
                    DELIVERIES_MAX,
                    hint,
                );
            }
            "window_bytes" => {
                let range = 1..=WINDOW_BYTES_MAX;
                self.size(
                    &mut qos.window_bytes,
                    name,
                    text,
                    mark,
                    &range,
                    "at most `4GiB`",
                );
            }
            "spill" => {
                let range = SPILL_BYTES_MIN..=SPILL_BYTES_MAX;
                let hint = "from `1MiB` to `4096GiB`";
                self.size(&mut qos.spill_bytes, name, text, mark, &range, hint);
            }
            "on_full" => {
                let words = [OnFull::Block, OnFull::Spill, OnFull::Fail];
                let words = words.map(|policy| (policy.name(), policy));
                if let Some(policy) = self.word(text, mark, "on_full", &words) {
                    qos.on_full = policy;
                }
            }
            other => self.unknown_option(other, mark),
        }
    }

    fn count(
        &mut self,
        value: &mut u32,
        name: &str,
        text: &str,
        mark: Mark,
        max: u32,
        hint: String,
    ) {
        match text.parse::<u32>() {
            Ok(given) if (1..=max).contains(&given) => *value = given,
            _ => self.error(
                "out-of-range",
                mark,
                format!("`{name}` can't be {text}"),
                hint,
            ),
        }
    }

    fn size(
        &mut self,
        value: &mut u64,
        name: &str,
        text: &str,
        mark: Mark,
        range: &RangeInclusive<u64>,
        hint: &str,
    ) {
        match self.bytes_text(text, mark, name) {
            Some(given) if range.contains(&given) => *value = given,
            Some(_) => {
                let message = format!("`{name}` is out of range");
                self.error("out-of-range", mark, message, hint);
            }
            None => {}
        }
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
