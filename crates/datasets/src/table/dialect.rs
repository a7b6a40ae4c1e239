//! Finds the delimiter, the decimal sign and the header of text, from its first lines.

/// How lines of text are split and numbers written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    /// A space stands for any number of blanks.
    pub delimiter: u8,
    /// `.` or `,`.
    pub decimal: u8,
    pub header: bool,
}

impl Dialect {
    pub fn delimiter_in_words(self) -> &'static str {
        match self.delimiter {
            b',' => "comma",
            b';' => "semicolon",
            b'\t' => "tab",
            b' ' => "blanks",
            b'|' => "bar",
            _ => "the stated one",
        }
    }
}

/// A number as text, or nothing where it is none.
///
/// Words such as `inf` and `nan` are numbers to Rust; missing values are found before this is called.
pub(super) fn number(cell: &str, decimal: u8) -> Option<f64> {
    if decimal == b',' {
        if cell.contains('.') {
            return None;
        }
        return cell.replace(',', ".").parse().ok();
    }
    cell.parse().ok()
}

/// Whether a cell says that there is no value.
pub(super) fn is_missing(cell: &str) -> bool {
    ["", "?", "na", "n/a", "nan", "-nan", "null", "none", "<na>", "nil"]
        .iter()
        .any(|word| cell.eq_ignore_ascii_case(word))
}

/// The rows of `head` by a delimiter.
pub(super) fn rows(head: &[u8], delimiter: u8) -> Vec<Vec<String>> {
    let records = builder(delimiter).from_reader(head).into_byte_records();
    let fields =
        |record: csv::ByteRecord| record.iter().map(|field| String::from_utf8_lossy(field).trim().to_owned()).collect();
    records.map_while(Result::ok).take(256).map(fields).collect()
}

/// How all text is split, once the delimiter is known.
pub(super) fn builder(delimiter: u8) -> csv::ReaderBuilder {
    let mut builder = csv::ReaderBuilder::new();
    builder.delimiter(delimiter).has_headers(false).flexible(true).trim(csv::Trim::All).comment(Some(b'#'));
    builder
}

/// What is known of the dialect; the rest is found.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stated {
    pub delimiter: Option<u8>,
    pub decimal: Option<u8>,
    pub header: Option<bool>,
}

/// The dialect of text whose first whole lines are `head` (blanks collapsed: for the delimiter space, by `collapsed`).
pub(super) fn sniff(head: &[u8], collapsed: &[u8], stated: Stated, tabs_first: bool) -> Dialect {
    let order = if tabs_first { *b"\t,;| " } else { *b",;\t| " };
    let delimiters = stated.delimiter.map_or(order.to_vec(), |one| vec![one]);
    let decimals = stated.decimal.map_or(vec![b'.', b','], |one| vec![one]);
    let mut best = (f64::NEG_INFINITY, Dialect { delimiter: b',', decimal: b'.', header: true });
    for &delimiter in &delimiters {
        let rows = rows(if delimiter == b' ' { collapsed } else { head }, delimiter);
        for &decimal in decimals.iter().filter(|decimal| **decimal != delimiter) {
            let score = score(&rows, decimal);
            // Strictly better only: the first of equals is the most usual one.
            if score > best.0 + 1e-9 {
                let header = stated.header.unwrap_or_else(|| has_header(&rows, decimal));
                best = (score, Dialect { delimiter, decimal, header });
            }
        }
    }
    best.1
}

/// How well rows fit together: several columns, the same number everywhere, of numbers.
fn score(rows: &[Vec<String>], decimal: u8) -> f64 {
    let Some(width) = rows.first().map(Vec::len) else { return 0.0 };
    let even = rows.iter().filter(|row| row.len() == width).count() as f64 / rows.len() as f64;
    let cells = || rows.iter().flatten().filter(|cell| !is_missing(cell));
    let numbers = cells().filter(|cell| number(cell, decimal).is_some()).count() as f64;
    let share = numbers / cells().count().max(1) as f64;
    // Even rows first, then numbers; a single column only where nothing splits the lines evenly.
    let several = if width > 1 { 1.0 } else { 0.25 };
    several * even * even * (1.0 + 2.0 * share)
}

/// Whether the first row has names: words above numbers, or words where there are no numbers at all.
fn has_header(rows: &[Vec<String>], decimal: u8) -> bool {
    let Some((first, rest)) = rows.split_first() else { return false };
    let is_word = |cell: &String| !is_missing(cell) && number(cell, decimal).is_none();
    let is_number = |cell: &String| !is_missing(cell) && number(cell, decimal).is_some();
    if !first.iter().any(is_number) {
        return first.iter().any(is_word);
    }
    // A number among the names: a header only if a word of it stands above numbers.
    let above_numbers = |place: usize| {
        let below = || rest.iter().filter_map(move |row| row.get(place));
        let numbers = below().filter(|cell| is_number(cell)).count();
        numbers > 0 && 2 * numbers > below().filter(|cell| !is_missing(cell)).count()
    };
    first.iter().enumerate().any(|(place, cell)| is_word(cell) && above_numbers(place))
}
