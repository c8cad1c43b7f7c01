//! Counts the rows in the binary form of `COPY` without a database, and refuses what is not of that form.
//!
//! The form is that of the PostgreSQL manual, "COPY", binary format: a signature, flags, an extension, then per row
//! a count of fields and each field's length and bytes, at the end a count of -1.

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// Reads rows as they come, in pieces of any size.
#[derive(Debug)]
pub(super) struct RowCounter {
    fields: usize,
    rows: u64,
    state: State,
    /// What a number or the signature is gathered in.
    gathered: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Signature,
    Flags,
    Extension,
    FieldCount,
    FieldLength { left: usize },
    Skip { bytes: usize, then: After },
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Row,
    Field { left: usize },
}

impl RowCounter {
    /// For rows of that many fields.
    pub(super) fn new(fields: usize) -> Self {
        Self { fields, rows: 0, state: State::Signature, gathered: Vec::new() }
    }

    /// Takes the next piece.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            if let State::Skip { bytes: due, then } = self.state {
                let skipped = due.min(bytes.len());
                bytes = &bytes[skipped..];
                self.skip(due - skipped, then);
                continue;
            }
            let due = self.due()? - self.gathered.len();
            let (taken, rest) = bytes.split_at(due.min(bytes.len()));
            self.gathered.extend_from_slice(taken);
            bytes = rest;
            if taken.len() == due {
                let gathered = std::mem::take(&mut self.gathered);
                self.step(&gathered)?;
            }
        }
        Ok(())
    }

    /// The rows, once the end was there.
    pub(super) fn finish(self) -> Result<u64, String> {
        match self.state {
            State::End => Ok(self.rows),
            _ => Err(format!("the rows break off after {}", self.rows)),
        }
    }

    /// Bytes that the present state gathers.
    fn due(&self) -> Result<usize, String> {
        match self.state {
            State::Signature => Ok(SIGNATURE.len()),
            State::Flags | State::Extension | State::FieldLength { .. } => Ok(4),
            State::FieldCount => Ok(2),
            State::Skip { .. } | State::End => Err("it goes on after the last row".to_owned()),
        }
    }

    fn skip(&mut self, bytes: usize, then: After) {
        self.state = match (bytes, then) {
            (0, After::Row) | (0, After::Field { left: 0 }) => State::FieldCount,
            (0, After::Field { left }) => State::FieldLength { left },
            _ => State::Skip { bytes, then },
        };
    }

    fn step(&mut self, gathered: &[u8]) -> Result<(), String> {
        let number = || gathered.iter().fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
        match self.state {
            State::Signature if gathered == SIGNATURE => self.state = State::Flags,
            State::Signature => return Err("it does not begin as COPY's binary form does".to_owned()),
            State::Flags => self.state = State::Extension,
            State::Extension => self.skip(number() as usize, After::Row),
            State::FieldCount if number() == 0xffff => self.state = State::End,
            State::FieldCount if number() as usize != self.fields => {
                let (row, expected) = (self.rows + 1, self.fields);
                return Err(format!("row {row} has {} fields and not {expected}", number()));
            }
            State::FieldCount => {
                self.rows += 1;
                self.skip(0, After::Field { left: self.fields });
            }
            State::FieldLength { left } => match number() {
                // A null has no bytes.
                u32::MAX => self.skip(0, After::Field { left: left - 1 }),
                length => self.skip(length as usize, After::Field { left: left - 1 }),
            },
            State::Skip { .. } | State::End => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[Option<&[u8]>]]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0; 8]);
        for row in rows {
            bytes.extend(u16::try_from(row.len()).unwrap().to_be_bytes());
            for field in *row {
                let length = field.map_or(u32::MAX, |field| u32::try_from(field.len()).unwrap());
                bytes.extend(length.to_be_bytes());
                bytes.extend(field.unwrap_or_default());
            }
        }
        bytes.extend([0xff, 0xff]);
        bytes
    }

    fn count(bytes: &[u8], piece: usize) -> Result<u64, String> {
        let mut counter = RowCounter::new(2);
        for piece in bytes.chunks(piece) {
            counter.take(piece)?;
        }
        counter.finish()
    }

    #[test]
    fn rows_are_counted_whatever_the_pieces() {
        let bytes = rows(&[&[Some(b"one"), None], &[Some(b""), Some(b"two")], &[None, None]]);
        for piece in 1..bytes.len() {
            assert_eq!(count(&bytes, piece), Ok(3), "in pieces of {piece}");
        }
        assert_eq!(count(&rows(&[]), 3), Ok(0));
    }

    #[test]
    fn what_is_cut_off_or_goes_on_is_refused() {
        let bytes = rows(&[&[Some(b"one"), None], &[Some(b"two"), None]]);
        for end in 0..bytes.len() {
            assert!(count(&bytes[..end], 7).is_err(), "cut at {end}");
        }
        assert!(count(&[&bytes[..], b"x"].concat(), 7).is_err());
        assert!(count(&rows(&[&[None]]), 7).unwrap_err().contains("1 fields"));
        assert!(count(b"not rows at all, just text", 7).is_err());
    }
}
