//! The loaded program against the same judgement in userspace and against an independent parser, over a
//! million generated and mutated frames and every truncation of every form.
//!
//! Each frame's action is compared, and for each batch every counter of the program: so also the reason,
//! the cause, and that nothing was counted twice. `EDGEWARD_SEED` chooses other frames; the seed is printed.

mod frames;
mod judge;
mod random;
mod run;
mod style;
mod world;

#[path = "../common/edge.rs"]
#[expect(dead_code, reason = "shared with the verdict tests")]
mod edge;
#[path = "../common/independent.rs"]
mod independent;

use style::Style;

fn main() {
    eprintln!("EDGEWARD_SEED={}", run::seed());
    lab::run_tests(vec![
        ("hosts_and_networks", || run::generated(0, Style::plain())),
        ("many_nested_prefixes", || {
            run::generated(1, Style::plain().nested())
        }),
        ("short_prefixes", || {
            run::generated(2, Style::plain().short())
        }),
        ("few_prefixes", || run::generated(3, Style::plain().few())),
        ("unreadable_frames_dropped", || {
            run::generated(4, Style::plain().drop_unreadable())
        }),
        ("refusals_by_reset", || {
            run::generated(5, Style::plain().reset())
        }),
        ("mode_log", || {
            run::generated(6, Style::plain().nested().log())
        }),
        ("expired_without_an_agent", || {
            run::generated(7, Style::plain().nested().expired())
        }),
        ("floods_of_hosts", || {
            run::generated(10, Style::plain().hosts())
        }),
        ("every_truncation_passed", || {
            run::truncated(8, Style::plain())
        }),
        ("every_truncation_dropped", || {
            run::truncated(9, Style::plain().drop_unreadable().reset())
        }),
    ]);
}
