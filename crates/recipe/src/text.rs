//! Words and numbers of messages.

/// The text with its very large and very small numbers by their power of ten, where they had hundreds of digits.
pub fn readable(text: &str) -> String {
    let in_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let end = rest[start..].find(|c| !in_number(c)).map_or(rest.len(), |length| start + length);
        let word = rest[start..end].trim_end_matches('.');
        out += &rest[..start];
        match word.parse::<f64>() {
            Ok(value) if value != 0.0 && !(1e-5..1e20).contains(&value) => out += &format!("{value:e}"),
            _ => out += word,
        }
        rest = &rest[start + word.len()..];
    }
    out + rest
}

/// The entry of `known` that looks most like `word`, if any looks like it.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // What is several times as long is like none, and takes long to compare.
    let alike = |k: &&str| word.len() <= 4 * k.len();
    known
        .into_iter()
        .filter(alike)
        .map(|k| (strsim::normalized_damerau_levenshtein(word, k), k))
        .filter(|(score, _)| *score > 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_word_is_found_and_what_is_much_longer_is_like_none() {
        let known = ["mnist", "ising-16"];
        assert_eq!(closest("minst", known), Some("mnist"));
        assert_eq!(closest("phi", known), None);
        // Compared letter by letter with each this would take seconds.
        assert_eq!(closest(&"mnist".repeat(200_000), known), None);
    }

    #[test]
    fn numbers_of_hundreds_of_digits_are_told_by_their_power_of_ten() {
        let long = format!("found {}.0, expected {}; or -{}", 1e300, 1e-15, 2.5e-300);
        assert!(long.len() > 600, "{long}");
        assert_eq!(readable(&long), "found 1e300, expected 1e-15; or -2.5e-300");
        for same in
            ["", "at most 9223372036854775807", "1e-3, 1.5e300", "0.00012", "-0.5.", "ising-16-paper", "2.11.0 1..2"]
        {
            assert_eq!(readable(same), same);
        }
    }
}
