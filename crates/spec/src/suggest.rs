//! Near misses: the known word that somebody most likely meant.

use strsim::damerau_levenshtein;

/// Words longer than this are not compared: the text comes from outside.
const MAX_COMPARED_LEN: usize = 64;

/// The closest of `known` to `word`, if it is close enough to be worth showing.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_COMPARED_LEN {
        return None;
    }
    let lower = word.to_ascii_lowercase().replace('_', "-");
    known
        .into_iter()
        .filter_map(|candidate| {
            let distance =
                damerau_levenshtein(&lower, &candidate.to_ascii_lowercase().replace('_', "-"));
            let allowed = (candidate.len().max(lower.len()) / 3).max(1);
            (distance <= allowed && candidate != word).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean "x"?`, or else the known words in one line.
pub(crate) fn hint<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
    what: &str,
) -> String {
    if let Some(near) = nearest(word, known.clone()) {
        return format!("did you mean `{near}`?");
    }
    let all: Vec<String> = known.into_iter().map(|k| format!("`{k}`")).collect();
    match all.len() {
        0 => String::new(),
        1 => format!("the only {what} here is {}", all[0]),
        _ => format!("known {what}s: {}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_recognised_and_a_different_word_is_not() {
        let known = ["camera", "detect", "log", "max_age"];
        assert_eq!(nearest("camara", known), Some("camera"));
        assert_eq!(nearest("detcet", known), Some("detect"));
        assert_eq!(nearest("max-age", known), Some("max_age"));
        assert_eq!(nearest("recorder", known), None);
        assert_eq!(nearest(&"c".repeat(10_000), known), None);
    }
}
