//! Positions of particles from a file: arrays of NumPy and tables, or frames of .xyz.

use std::fs;
use std::path::Path;

use super::Composition;
use crate::table::{ReadOptions, Table, TableError};

/// Why positions cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PositionsError {
    /// A table that cannot be read, or one with missing values.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The system does not give the file, or it is no text.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Rows of another length.
    #[error(
        "{file} has {found} numbers for each configuration, but {particles} particles in {space} dimensions have \
         {expected}; give an array (rows, {particles}, {space}) or (rows, {expected})"
    )]
    Width {
        /// The file.
        file: String,
        /// Numbers of a row.
        found: usize,
        /// Particles there are to be.
        particles: usize,
        /// Dimensions of their space.
        space: usize,
        /// Numbers of a configuration.
        expected: usize,
    },
    /// Text that is no .xyz.
    #[error(
        "{file}, line {line}: {found}; a frame of .xyz is the number of particles, a line of words, and a line with a \
         name and coordinates for each particle"
    )]
    Frame {
        /// The file.
        file: String,
        /// Its line, from 1.
        line: usize,
        /// What is there instead.
        found: String,
    },
    /// Particles with two names that are said to be of one kind.
    #[error(
        "{file}, line {line}: a particle {found} is where particle {particle} of the same kind is {known}; give the \
         two kinds different numbers"
    )]
    Names {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The name there.
        found: String,
        /// The number of another particle of its kind, from 1.
        particle: usize,
        /// The name of that.
        known: String,
    },
}

/// Reads configurations, one after the other, n d numbers each, particle by particle.
///
/// A file whose name ends in `.xyz` has frames: the number of particles, a line of words, and a line for each particle
/// with its name and its coordinates, those beyond d being zero up to the third, and whatever else behind them. Names
/// are those of the first frame in every other, and particles of one kind have one name. Any other file is a table of n
/// d columns, or an array (rows, n, d) of NumPy.
///
/// # Errors
/// See [`PositionsError`].
pub fn read_positions(file: &Path, of: &Composition) -> Result<Vec<f64>, PositionsError> {
    if file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("xyz")) {
        let name = file.display().to_string();
        let text = fs::read_to_string(file).map_err(|source| PositionsError::Read { file: name.clone(), source })?;
        return Frames { file: name, of, names: Vec::new() }.read(&text);
    }
    let table = Table::read(file, &ReadOptions { flatten: true, ..ReadOptions::default() })?;
    table.require_numbers()?;
    let (found, expected) = (table.columns().len(), of.dimension());
    if found != expected {
        let (particles, space) = (of.particles(), of.space());
        return Err(PositionsError::Width { file: file.display().to_string(), found, particles, space, expected });
    }
    Ok(table.values().to_vec())
}

/// A file of frames that is being read.
struct Frames<'a> {
    file: String,
    of: &'a Composition,
    /// The names in the first frame.
    names: Vec<String>,
}

impl Frames<'_> {
    fn wrong(&self, line: usize, found: impl Into<String>) -> PositionsError {
        PositionsError::Frame { file: self.file.clone(), line: line + 1, found: found.into() }
    }

    fn read(mut self, text: &str) -> Result<Vec<f64>, PositionsError> {
        let lines: Vec<&str> = text.trim_end().lines().collect();
        let n = self.of.particles();
        let mut x = Vec::new();
        for start in (0..lines.len()).step_by(n + 2) {
            match lines[start].trim().parse::<usize>() {
                Ok(found) if found == n => {}
                Ok(found) => return Err(self.wrong(start, format!("it has {found} particles instead of {n}"))),
                Err(_) => return Err(self.wrong(start, format!("{:?} is no number of particles", shown(lines[start])))),
            }
            for i in 0..n {
                let line = start + 2 + i;
                let Some(words) = lines.get(line) else {
                    return Err(self
                        .wrong(lines.len() - 1, format!("the file ends {} lines early", line + n - i - lines.len())));
                };
                x.extend(self.particle(i, line, words)?);
            }
        }
        match x.is_empty() {
            true => Err(self.wrong(0, "there is no frame")),
            false => Ok(x),
        }
    }

    /// The coordinates of particle i.
    fn particle(&mut self, i: usize, line: usize, words: &str) -> Result<Vec<f64>, PositionsError> {
        let mut parts = words.split_whitespace();
        let Some(name) = parts.next() else { return Err(self.wrong(line, "an empty line")) };
        self.name(i, line, name)?;
        let d = self.of.space();
        let mut x = Vec::with_capacity(d);
        for (a, word) in parts.take(3).enumerate() {
            let number = word.parse::<f64>().ok().filter(|number| number.is_finite());
            let Some(number) = number else {
                return Err(self.wrong(line, format!("{:?} is no coordinate", shown(word))));
            };
            match a < d {
                true => x.push(number),
                false if number == 0.0 => {}
                false => {
                    return Err(
                        self.wrong(line, format!("coordinate {} is {number}, not 0 as in {d} dimensions", a + 1))
                    );
                }
            }
        }
        match x.len() {
            found if found == d => Ok(x),
            found => Err(self.wrong(line, format!("{found} coordinates instead of {d}"))),
        }
    }

    /// Whether the name of particle i is what it was, and that of its kind.
    fn name(&mut self, i: usize, line: usize, name: &str) -> Result<(), PositionsError> {
        let kinds = self.of.kinds();
        if i == self.names.len() {
            self.names.push(name.to_owned());
        }
        let other = (0..=i).find(|j| kinds[*j] == kinds[i] && self.names[*j] != name);
        match other {
            None => Ok(()),
            Some(j) => Err(PositionsError::Names {
                file: self.file.clone(),
                line: line + 1,
                found: shown(name),
                particle: j + 1,
                known: self.names[j].clone(),
            }),
        }
    }
}

/// A word of a file for a sentence: its first 40 characters.
fn shown(word: &str) -> String {
    word.trim().chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WATER: &str = "3\nfirst\nO 0 0 0.1\nH 0.8 0 -0.5\nH -0.8 0 -0.5 7.5 force\n\
                         3\n\nO 0 0.1 0\nH 0.8e0 0 -0.5\n  H -0.7 0 -0.5\n\n";

    fn water() -> Composition {
        Composition::new(3, 3).unwrap().with_kinds(&[8, 1, 1]).unwrap()
    }

    fn written(name: &str, content: &[u8], of: &Composition) -> Result<Vec<f64>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        fs::write(&file, content).unwrap();
        read_positions(&file, of).map_err(|error| error.to_string())
    }

    #[test]
    fn frames_are_read_one_after_the_other() {
        let x = written("water.xyz", WATER.as_bytes(), &water()).unwrap();
        assert_eq!(x.len(), 18);
        assert_eq!((x[2], x[3], x[6], x[10], x[15]), (0.1, 0.8, -0.8, 0.1, -0.7));
        let plane = Composition::new(2, 2).unwrap();
        assert_eq!(written("a.XYZ", b"2\n\nA 1 2 0\nA 3 4", &plane).unwrap(), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn what_is_no_frame_is_told_by_its_line() {
        let told = |text: &str| written("a.xyz", text.as_bytes(), &water()).unwrap_err();
        for (text, words) in [
            ("", "line 1: there is no frame"),
            ("4\n\n", "line 1: it has 4 particles instead of 3"),
            ("3\n\nO 0 0 0\nH 1 1", "line 4: 2 coordinates instead of 3"),
            ("3\n\nO 0 0 0\nH 1 1 x", "line 4: \"x\" is no coordinate"),
            ("3\n\nO 0 0 0\nH 1 1 nan", "line 4: \"nan\" is no coordinate"),
            ("3\n\nO 0 0 0\nH 1 1 1", "line 4: the file ends 1 lines early"),
            ("3\n\nO 0 0 0\nH 1 1 1\nC 1 1 1", "line 5: a particle C is where particle 2 of the same kind is H"),
        ] {
            assert!(told(text).contains(words), "{}", told(text));
        }
        let changed = WATER.replace("O 0 0.1 0", "N 0 0.1 0");
        assert!(told(&changed).contains("line 8: a particle N is where particle 1"), "{}", told(&changed));
        let plane = Composition::new(2, 2).unwrap();
        let told = written("a.xyz", b"2\n\nA 1 2 3\nA 3 4", &plane).unwrap_err();
        assert!(told.contains("coordinate 3 is 3, not 0"), "{told}");
    }

    /// An array of NumPy in version 1.
    fn npy(shape: &str, fortran: bool, values: &[f64]) -> Vec<u8> {
        let order = if fortran { "True" } else { "False" };
        let mut header = format!("{{'descr': '<f8', 'fortran_order': {order}, 'shape': {shape}, }}");
        while (10 + header.len() + 1) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        bytes
    }

    #[test]
    fn arrays_of_two_and_of_three_dimensions_are_the_same() {
        let of = Composition::new(3, 2).unwrap();
        let x: Vec<f64> = (0..12).map(f64::from).collect();
        for (shape, fortran) in [("(2, 3, 2)", false), ("(2, 6)", false)] {
            assert_eq!(written("x.npy", &npy(shape, fortran, &x), &of).unwrap(), x, "{shape}");
        }
        // The first axis is the fastest: place [r, i, a] is at r + 2 i + 6 a.
        let mut turned = vec![0.0; 12];
        for (place, value) in x.iter().enumerate() {
            let (r, i, a) = (place / 6, place / 2 % 3, place % 2);
            turned[r + 2 * i + 6 * a] = *value;
        }
        assert_eq!(written("x.npy", &npy("(2, 3, 2)", true, &turned), &of).unwrap(), x);
        let told = written("x.npy", &npy("(3, 2, 2)", false, &x), &of).unwrap_err();
        assert!(
            told.contains("has 4 numbers for each configuration, but 3 particles in 2 dimensions have 6"),
            "{told}"
        );
        let told = written("x.npy", &npy("(1, 6)", false, &[f64::NAN; 6]), &of).unwrap_err();
        assert!(told.contains("missing"), "{told}");
    }
}
