//! A small evaluator of SPDX licence expressions: is this expression satisfied by what we allow?
//!
//! Knows `AND`, `OR`, `WITH`, parentheses, a trailing `+`, and the old `MIT/Apache-2.0` spelling. It
//! knows no list of licences: a name is allowed only if the caller says so. `AND` binds tighter than
//! `OR`, as the SPDX specification (annex D of version 2.3) has it.

/// Whether `expression` can be satisfied by licences that `allows` accepts; an error says why it
/// could not be read.
pub(super) fn satisfied(expression: &str, allows: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    let tokens = tokens_of(expression);
    let mut parser = Parser { tokens: &tokens, at: 0, allows };
    let answer = parser.any_of()?;
    match parser.next() {
        None => Ok(answer),
        Some(token) => Err(format!("`{token}` is not expected there")),
    }
}

fn tokens_of(expression: &str) -> Vec<String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    spaced.split_whitespace().map(str::to_owned).collect()
}

struct Parser<'a> {
    tokens: &'a [String],
    at: usize,
    allows: &'a dyn Fn(&str) -> bool,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let token = self.tokens.get(self.at)?;
        self.at += 1;
        Some(token)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|token| token.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    fn any_of(&mut self) -> Result<bool, String> {
        let mut answer = self.all_of()?;
        while self.take("OR") {
            answer |= self.all_of()?;
        }
        Ok(answer)
    }

    fn all_of(&mut self) -> Result<bool, String> {
        let mut answer = self.term()?;
        while self.take("AND") {
            answer &= self.term()?;
        }
        Ok(answer)
    }

    fn term(&mut self) -> Result<bool, String> {
        if self.take("(") {
            let answer = self.any_of()?;
            return if self.take(")") { Ok(answer) } else { Err("a parenthesis is not closed".to_owned()) };
        }
        let licence = self.name()?;
        if self.take("WITH") {
            let exception = self.name()?;
            return Ok((self.allows)(&format!("{licence} WITH {exception}")));
        }
        Ok((self.allows)(licence) || licence.strip_suffix('+').is_some_and(|base| (self.allows)(base)))
    }

    fn name(&mut self) -> Result<&'a str, String> {
        match self.next() {
            None => Err("it ends where a licence should stand".to_owned()),
            Some(token) if ["AND", "OR", "WITH", "(", ")"].contains(&token) => {
                Err(format!("`{token}` stands where a licence should"))
            }
            Some(token) => Ok(token),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(expression: &str) -> Result<bool, String> {
        let allowed = ["MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"];
        satisfied(expression, &|name| allowed.contains(&name))
    }

    #[test]
    fn expressions_that_can_be_satisfied() {
        for expression in [
            "MIT",
            "MIT OR GPL-3.0-only",
            "GPL-3.0-only OR MIT",
            "MIT/GPL-2.0",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "GPL-2.0-only OR MIT AND Apache-2.0",
            "Apache-2.0 WITH LLVM-exception",
            "Apache-2.0+",
            "((MIT))",
        ] {
            assert_eq!(ask(expression), Ok(true), "{expression}");
        }
    }

    #[test]
    fn expressions_that_cannot_be_satisfied() {
        for expression in [
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "(MIT OR Apache-2.0) AND OpenSSL",
            "MIT WITH Some-exception",
            "GPL-2.0+",
            "GPL-2.0-only OR MIT AND OpenSSL",
        ] {
            assert_eq!(ask(expression), Ok(false), "{expression}");
        }
    }

    #[test]
    fn expressions_that_cannot_be_read_say_why() {
        for expression in ["", "MIT OR", "AND MIT", "(MIT", "MIT)", "MIT Apache-2.0", "MIT WITH"] {
            assert!(ask(expression).is_err(), "{expression}");
        }
    }
}
