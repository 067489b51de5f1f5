//! Decisions as rows and back. Rows are lean (the prefix is its address bytes and a length) because a
//! million of them are read at every start.

use std::net::IpAddr;

use ipnet::IpNet;
use rusqlite::{
    Connection, Error, Result, Row, params,
    types::{Type, ValueRef},
};

use crate::policy::decision::{Decision, Key, Kind, Origin};

/// The direction in which rows are read; damage may stop one direction and leave the other.
#[derive(Clone, Copy)]
pub(super) enum Order {
    Ascending,
    Descending,
}

/// Inserts or replaces inside the caller's transaction.
pub(super) fn insert<'a>(
    connection: &Connection,
    decisions: impl IntoIterator<Item = &'a Decision>,
) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO decisions
         (address, length, kind, origin, score, reason, actor, created, expires, evidence)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for decision in decisions {
        let (bytes, used) = address_bytes(decision.prefix.addr());
        statement.execute(params![
            bytes.get(..used),
            decision.prefix.prefix_len(),
            kind_code(decision.kind),
            origin_code(decision.origin),
            decision.score,
            decision.reason,
            decision.actor,
            time_out(decision.created)?,
            decision.expires.map(time_out).transpose()?,
            decision.evidence,
        ])?;
    }
    Ok(())
}

/// Deletes inside the caller's transaction; how many rows there were.
pub(super) fn delete<'a>(
    connection: &Connection,
    keys: impl IntoIterator<Item = &'a Key>,
) -> Result<usize> {
    let mut statement = connection.prepare_cached(
        "DELETE FROM decisions WHERE address = ?1 AND length = ?2 AND kind = ?3 AND origin = ?4",
    )?;
    let mut count = 0;
    for key in keys {
        let (bytes, used) = address_bytes(key.prefix.addr());
        count += statement.execute(params![
            bytes.get(..used),
            key.prefix.prefix_len(),
            kind_code(key.kind),
            origin_code(key.origin),
        ])?;
    }
    Ok(count)
}

/// Reads every row in the given order of the key.
pub(super) fn each(
    connection: &Connection,
    order: Order,
    mut visit: impl FnMut(Decision),
) -> Result<()> {
    // A damaged database of the first layout is read as it is.
    let evidence = connection
        .prepare("SELECT evidence FROM decisions LIMIT 0")
        .map_or("''", |_| "evidence");
    let by = match order {
        Order::Ascending => "address, length, kind, origin",
        Order::Descending => "address DESC, length DESC, kind DESC, origin DESC",
    };
    let mut statement = connection.prepare(&format!(
        "SELECT address, length, kind, origin, score, reason, actor, created, expires, {evidence}
         FROM decisions ORDER BY {by}"
    ))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        visit(decode(row)?);
    }
    Ok(())
}

/// Deletes and returns what has ended at `now`.
pub(super) fn purge(connection: &Connection, now: u64) -> Result<Vec<Decision>> {
    // A clock past the last storable moment means that everything with an end has ended.
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(
        "DELETE FROM decisions WHERE expires <= ?1
         RETURNING address, length, kind, origin, score, reason, actor, created, expires, evidence",
    )?;
    statement.query_map([now], decode)?.collect()
}

fn decode(row: &Row<'_>) -> Result<Decision> {
    let prefix = match row.get_ref(0)? {
        ValueRef::Blob(bytes) => prefix(bytes, row.get(1)?),
        _ => None,
    };
    Ok(Decision {
        prefix: prefix.ok_or_else(|| damaged(0, Type::Blob, "not a prefix"))?,
        kind: kind(row.get(2)?).ok_or_else(|| damaged(2, Type::Integer, "not a kind"))?,
        origin: origin(row.get(3)?).ok_or_else(|| damaged(3, Type::Integer, "not an origin"))?,
        score: row.get(4)?,
        reason: row.get(5)?,
        actor: row.get(6)?,
        created: time_in(7, row.get(7)?)?,
        expires: row
            .get::<_, Option<i64>>(8)?
            .map(|at| time_in(8, at))
            .transpose()?,
        evidence: row.get(9)?,
    })
}

fn address_bytes(address: IpAddr) -> ([u8; 16], usize) {
    match address {
        IpAddr::V6(address) => (address.octets(), 16),
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            ([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 4)
        }
    }
}

fn prefix(bytes: &[u8], length: u8) -> Option<IpNet> {
    let address = if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        IpAddr::from(v4)
    } else {
        IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)
    };
    IpNet::new(address, length).ok()
}

// The codes are on disk: never renumber them.
const fn kind_code(kind: Kind) -> u8 {
    match kind {
        Kind::Block => 1,
        Kind::Exempt => 2,
    }
}

const fn kind(code: u8) -> Option<Kind> {
    match code {
        1 => Some(Kind::Block),
        2 => Some(Kind::Exempt),
        _ => None,
    }
}

const fn origin_code(origin: Origin) -> u8 {
    match origin {
        Origin::Operator => 1,
        Origin::List => 2,
        Origin::Detection => 3,
        Origin::Feed => 4,
    }
}

const fn origin(code: u8) -> Option<Origin> {
    match code {
        1 => Some(Origin::Operator),
        2 => Some(Origin::List),
        3 => Some(Origin::Detection),
        4 => Some(Origin::Feed),
        _ => None,
    }
}

fn time_out(at: u64) -> Result<i64> {
    i64::try_from(at).map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))
}

fn time_in(column: usize, at: i64) -> Result<u64> {
    u64::try_from(at).map_err(|_| Error::IntegralValueOutOfRange(column, at))
}

fn damaged(column: usize, kind: Type, what: &'static str) -> Error {
    Error::FromSqlConversionFailure(column, kind, what.into())
}
