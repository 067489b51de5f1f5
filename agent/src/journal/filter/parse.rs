//! From words to an expression: `not` binds most closely, then `and`, then `or`.

use super::attribute::{Unknown, is_name};
use super::lex::Lexer;
use super::{
    Attribute, FILTER_BYTES_MAX, FILTER_DEPTH_MAX, FILTER_TERMS_MAX, Filter, FilterError, Literal,
    Operator,
};

pub(super) fn filter(text: &str) -> Result<Filter, FilterError> {
    if text.len() > FILTER_BYTES_MAX {
        let said = format!("The filter is longer than {FILTER_BYTES_MAX} bytes");
        return Err(FilterError::new(0, "a shorter filter", said));
    }
    let mut parser = Parser {
        lexer: Lexer::new(text),
        terms: 0,
    };
    let filter = parser.any(0)?;
    match parser.lexer.word() {
        None => Ok(filter),
        Some(word) => Err(parser.unexpected(&word, "and, or or the end")),
    }
}

struct Parser {
    lexer: Lexer,
    terms: usize,
}

impl Parser {
    /// Members with `or` between them.
    fn any(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let mut members = vec![self.all(depth)?];
        while self.takes("or") {
            members.push(self.all(depth)?);
        }
        Ok(flat(members, Filter::Or, |member| match member {
            Filter::Or(inner) => Ok(inner),
            other => Err(other),
        }))
    }

    /// Members with `and` between them.
    fn all(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let mut members = vec![self.one(depth)?];
        while self.takes("and") {
            members.push(self.one(depth)?);
        }
        Ok(flat(members, Filter::And, |member| match member {
            Filter::And(inner) => Ok(inner),
            other => Err(other),
        }))
    }

    /// A comparison, `not (…)`, or `(…)`.
    fn one(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let Some(word) = self.lexer.word() else {
            let at = self.lexer.began;
            return Err(FilterError::new(
                at,
                EXPRESSION,
                format!("End of input at position {at} but expected a filter expression"),
            ));
        };
        if word == "(" {
            return self.parenthesis(depth);
        }
        if word.eq_ignore_ascii_case("not") {
            let at = self.lexer.place();
            if !self.takes("(") {
                let said = format!("Expected an opening parenthesis at position {at} after not");
                return Err(FilterError::new(at, "an opening parenthesis", said));
            }
            return Ok(Filter::Not(Box::new(self.parenthesis(depth)?)));
        }
        self.comparison(&word)
    }

    /// Behind an opening parenthesis, up to the closing one.
    fn parenthesis(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let opened = self.lexer.began;
        if depth >= FILTER_DEPTH_MAX {
            let said = format!(
                "Parentheses are nested deeper than {FILTER_DEPTH_MAX} at position {opened}"
            );
            return Err(FilterError::new(opened, "fewer parentheses", said));
        }
        let inner = self.any(depth + 1)?;
        let at = self.lexer.place();
        if self.takes(")") {
            Ok(inner)
        } else {
            Err(FilterError::new(
                at,
                "and, or or a closing parenthesis",
                format!(
                    "Expected closing parenthesis at position {at} to match opening parenthesis at position {opened}"
                ),
            ))
        }
    }

    fn comparison(&mut self, path: &str) -> Result<Filter, FilterError> {
        let at = self.lexer.began;
        self.terms += 1;
        if self.terms > FILTER_TERMS_MAX {
            let said = format!("The filter has more than {FILTER_TERMS_MAX} comparisons");
            return Err(FilterError::new(at, "fewer comparisons", said));
        }
        if !path.chars().all(is_name) {
            return Err(FilterError::new(
                at,
                EXPRESSION,
                format!("Expected an attribute reference at position {at}: {path}"),
            ));
        }
        let Some(word) = self.lexer.word() else {
            let at = self.lexer.began;
            return Err(FilterError::new(
                at,
                OPERATORS,
                format!("End of input at position {at} but expected an attribute operator"),
            ));
        };
        if word.eq_ignore_ascii_case("pr") {
            return Attribute::present(path)
                .map(Filter::Present)
                .map_err(|unknown| not_a_field(at, path, unknown));
        }
        let Some(operator) = Operator::read(&word) else {
            let at = self.lexer.began;
            return Err(FilterError::new(
                at,
                OPERATORS,
                format!(
                    "Unrecognized attribute operator '{word}' at position {at}. Expected: {OPERATORS}"
                ),
            ));
        };
        let literal = self.lexer.literal(operator.as_str())?;
        self.fits(operator, &literal)?;
        Ok(Filter::Compare {
            attribute: Attribute::compared(path)
                .map_err(|unknown| not_a_field(at, path, unknown))?,
            operator,
            literal,
        })
    }

    /// Booleans have no order, and numbers neither beginning nor end.
    fn fits(&self, operator: Operator, literal: &Literal) -> Result<(), FilterError> {
        let equality = matches!(operator, Operator::Eq | Operator::Ne);
        let textual = matches!(
            operator,
            Operator::StartsWith | Operator::EndsWith | Operator::Contains
        );
        let expected = match literal {
            Literal::Boolean(_) if textual => "a string in quotes",
            Literal::Boolean(_) if !equality => "a string in quotes or a number",
            Literal::Number(_) if textual => "a string in quotes",
            _ => return Ok(()),
        };
        let (at, operator) = (self.lexer.began, operator.as_str());
        Err(FilterError::new(
            at,
            expected,
            format!(
                "Invalid filter value '{literal}' at position {at} for operator {operator}. Expected {expected}"
            ),
        ))
    }

    fn takes(&mut self, wanted: &str) -> bool {
        let taken = self
            .lexer
            .peek_word()
            .is_some_and(|word| word.eq_ignore_ascii_case(wanted));
        if taken {
            self.lexer.word();
        }
        taken
    }

    fn unexpected(&self, word: &str, expected: &'static str) -> FilterError {
        let at = self.lexer.began;
        FilterError::new(
            at,
            expected,
            format!("Unexpected characters '{word}' at position {at}"),
        )
    }
}

/// One member as itself, several as one expression with no member of its own kind.
fn flat(
    members: Vec<Filter>,
    joined: fn(Vec<Filter>) -> Filter,
    inner: fn(Filter) -> Result<Vec<Filter>, Filter>,
) -> Filter {
    let mut flat = Vec::with_capacity(members.len());
    for member in members {
        match inner(member) {
            Ok(within) => flat.extend(within),
            Err(other) => flat.push(other),
        }
    }
    match flat.pop() {
        Some(only) if flat.is_empty() => only,
        Some(last) => {
            flat.push(last);
            joined(flat)
        }
        // There is always a first member.
        None => joined(flat),
    }
}

fn not_a_field(at: usize, path: &str, unknown: Unknown) -> FilterError {
    let expected = match unknown {
        Unknown::Field => EXPRESSION,
        Unknown::Published => "the parameters since and until instead of published",
        Unknown::Complex => "pr, or one of its members",
    };
    FilterError::field(at, expected, path)
}

const EXPRESSION: &str = "an attribute of the event, not or an opening parenthesis";
const OPERATORS: &str = "eq,ne,co,sw,ew,pr,gt,ge,lt,le";
