//! What must hold for any bytes in a log or in an application's report: the bodies of the fuzz targets `log_lines` and
//! `reported`, run over seeds by an ordinary test too.

use std::io::{BufReader, Cursor};

use edgeward::{
    policy::{
        prefix::canonical_address,
        signal::{PseudonymKey, Signal},
    },
    signal::{
        Expression, JsonFields, Maker, Recipe, Routes, Words,
        lines::{LINE_BYTES_MAX, Line, Lines},
        read_line,
        reported::{self, REPORTED_MAX},
    },
};

/// A log of any format, the first byte says which: no reader fails, clients are canonical, reasons are sentences, and
/// how the bytes arrive changes nothing.
pub(crate) fn log_lines(bytes: &[u8]) {
    let Some((first, log)) = bytes.split_first() else {
        return;
    };
    let expression = r"(?<time>\S+) (?<client>[0-9a-f.:]+) (?<outcome>\S+)";
    let recipes = [
        Recipe::Sshd,
        Recipe::Access(Routes::default()),
        Recipe::Keycloak,
        Recipe::Authelia,
        Recipe::Json(JsonFields::parse("", Words::default()).unwrap()),
        Recipe::Regex(Expression::parse(expression).unwrap(), Words::default()),
    ];
    let recipe = &recipes[usize::from(*first) % recipes.len()];
    let whole = signals(recipe, log, 1 << 16);
    assert_eq!(whole, signals(recipe, log, 3));
    for signal in &whole {
        assert_eq!(signal.client, canonical_address(signal.client));
    }
}

fn signals(recipe: &Recipe, log: &[u8], chunk: usize) -> Vec<Signal> {
    let maker = Maker {
        key: PseudonymKey::new(1, 2),
        service: 0,
    };
    let mut format = recipe.reader(maker, 1_795_334_400_000);
    let mut lines = Lines::new(BufReader::with_capacity(chunk, Cursor::new(log)));
    let mut found = Vec::new();
    let mut before = 0;
    while let Some((number, line)) = lines.next_line().unwrap() {
        assert_eq!(number, before + 1);
        before = number;
        if let Line::Text(text) = line {
            assert!(text.len() <= LINE_BYTES_MAX && !text.contains(&b'\n'));
            if let Err(reason) = read_line(text, format.as_mut(), &mut found) {
                assert!(!reason.is_empty());
            }
        }
    }
    assert!(lines.given_bytes() <= log.len() as u64);
    format.finish(&mut found);
    found
}

/// The body of a call: signals or reasons within the limits, and nothing else.
pub(crate) fn reported(body: &[u8]) {
    match reported::read(body) {
        Ok(read) => {
            assert!((1..=REPORTED_MAX).contains(&read.len()));
            for one in read {
                match one {
                    Ok(one) => {
                        assert!(one.id.is_none_or(|id| !id.is_empty()));
                        assert!(one.user.is_none_or(|user| user.len() <= 1_024));
                        assert!(one.path.is_none_or(|path| !path.contains('?')));
                    }
                    Err(reason) => assert!(!reason.to_string().is_empty()),
                }
            }
        }
        Err(unreadable) => assert!(!unreadable.to_string().is_empty()),
    }
}
