//! Whether an event satisfies an expression.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Attribute, Filter, Literal, Operator};
use crate::signal::time;

pub(super) fn matches(filter: &Filter, event: &Value) -> bool {
    match filter {
        Filter::And(members) => members.iter().all(|member| matches(member, event)),
        Filter::Or(members) => members.iter().any(|member| matches(member, event)),
        Filter::Not(inner) => !matches(inner, event),
        Filter::Present(attribute) => any(event, attribute, &is_present),
        Filter::Compare {
            attribute,
            operator: Operator::Ne,
            literal,
        } => !any(event, attribute, &|value| equal(value, literal)),
        Filter::Compare {
            attribute,
            operator,
            literal,
        } => any(event, attribute, &|value| {
            compare(value, *operator, literal)
        }),
    }
}

/// Whether a value at the path satisfies the test; in lists on the way and at its end any element may.
fn any(event: &Value, attribute: &Attribute, test: &dyn Fn(&Value) -> bool) -> bool {
    below(event, Some(attribute.as_str()), test)
}

fn below(value: &Value, path: Option<&str>, test: &dyn Fn(&Value) -> bool) -> bool {
    match (value, path) {
        (Value::Array(elements), _) => elements.iter().any(|element| below(element, path, test)),
        (_, None) => test(value),
        (Value::Object(members), Some(path)) => {
            let (name, rest) = match path.split_once('.') {
                Some((name, rest)) => (name, Some(rest)),
                None => (path, None),
            };
            members
                .get(name)
                .is_some_and(|member| below(member, rest, test))
        }
        _ => false,
    }
}

/// Has a value that is not empty; an object does if one of its members has.
fn is_present(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => elements.iter().any(is_present),
        Value::Object(members) => members.values().any(is_present),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn compare(value: &Value, operator: Operator, literal: &Literal) -> bool {
    let text = |test: fn(&str, &str) -> bool| match (value, literal) {
        (Value::String(value), Literal::Text(text) | Literal::Date { text, .. }) => {
            test(value, text)
        }
        _ => false,
    };
    match operator {
        Operator::Eq => equal(value, literal),
        Operator::Ne => !equal(value, literal),
        Operator::Gt => order(value, literal).is_some_and(Ordering::is_gt),
        Operator::Ge => order(value, literal).is_some_and(Ordering::is_ge),
        Operator::Lt => order(value, literal).is_some_and(Ordering::is_lt),
        Operator::Le => order(value, literal).is_some_and(Ordering::is_le),
        Operator::StartsWith => text(|value, text| value.starts_with(text)),
        Operator::EndsWith => text(|value, text| value.ends_with(text)),
        Operator::Contains => text(|value, text| value.contains(text)),
    }
}

fn equal(value: &Value, literal: &Literal) -> bool {
    match (value, literal) {
        (Value::Bool(value), Literal::Boolean(literal)) => value == literal,
        (Value::String(value), Literal::Boolean(literal)) => *value == literal.to_string(),
        (Value::Bool(value), Literal::Text(text)) => value.to_string() == *text,
        (Value::Number(value), Literal::Text(text)) => value.to_string() == *text,
        // Beyond 2^53 a float would hold two different numbers for the same.
        (Value::Number(value), Literal::Number(literal))
            if !value.is_f64() && !literal.is_f64() =>
        {
            value == literal
        }
        _ => order(value, literal).is_some_and(Ordering::is_eq),
    }
}

/// How the value stands to the literal; none where they cannot be compared.
fn order(value: &Value, literal: &Literal) -> Option<Ordering> {
    match (value, literal) {
        (Value::String(value), Literal::Text(text)) => Some(value.as_str().cmp(text)),
        (Value::String(value), Literal::Date { text, unix_ms }) => Some(match time::iso(value) {
            Some((value_ms, "")) => value_ms.cmp(unix_ms),
            _ => value.as_str().cmp(text),
        }),
        (Value::Number(value), Literal::Number(literal)) => {
            value.as_f64()?.partial_cmp(&literal.as_f64()?)
        }
        (Value::String(value), Literal::Number(literal)) => {
            value.parse::<f64>().ok()?.partial_cmp(&literal.as_f64()?)
        }
        _ => None,
    }
}
