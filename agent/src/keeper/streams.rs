//! Streams out of the System Log: which there are, how they are, and what operators want of them.

use tokio::sync::oneshot;

use super::{Keeper, commands::Answer};
use crate::{
    control::{Failure, FailureKind, report::StreamRows},
    stream::{Board, Orders, Plan, What, Wish},
};

/// How streams are reached.
#[derive(Debug)]
pub(super) struct Streams {
    orders: Orders,
    board: Board,
}

impl Keeper {
    /// From now on streams are told what concerns them.
    pub(crate) fn command_streams(&mut self, orders: Orders, board: Board) {
        self.streams = Some(Streams { orders, board });
    }

    /// What is to be streamed, as `actor` has it.
    pub(crate) fn stream_plan(&self, actor: &str) -> Plan {
        Plan {
            streams: self.config.streams.clone(),
            actor: actor.to_owned(),
        }
    }

    /// After a reload.
    pub(super) fn plan_streams(&self, actor: &str) {
        if let Some(streams) = &self.streams {
            streams.orders.plan(self.stream_plan(actor));
        }
    }

    pub(super) fn stream_rows(&self) -> StreamRows {
        let now_ms = self.clock.now().wall_ms;
        let streams = self.streams.as_ref();
        StreamRows {
            streams: streams
                .map(|streams| streams.board.states(&self.config.streams, now_ms))
                .unwrap_or_default(),
        }
    }

    /// Streams answer by themselves: a receiver may take its time, and the keeper has none.
    pub(super) fn wish_stream(
        &self,
        name: String,
        what: What,
        actor: String,
        reply: oneshot::Sender<Answer>,
    ) {
        if !self.config.streams.iter().any(|stream| stream.name == name) {
            let unknown =
                format!("there is no stream \"{name}\"; `edgeward stream list` shows them");
            drop(reply.send(Err(Failure::new(FailureKind::NotFound, unknown))));
            return;
        }
        let Some(streams) = &self.streams else {
            return;
        };
        let wish = Wish {
            name,
            actor,
            what,
            reply,
        };
        if let Some(wish) = streams.orders.wish(wish) {
            let busy = Failure::new(FailureKind::Unavailable, "streams are busy; ask again");
            drop(wish.reply.send(Err(busy)));
        }
    }

    /// What does not work, for `status`.
    pub(super) fn stream_warnings(&self) -> impl Iterator<Item = String> {
        self.stream_rows()
            .streams
            .into_iter()
            .filter_map(|state| Some(format!("stream \"{}\" {}", state.name, state.error?)))
    }
}
