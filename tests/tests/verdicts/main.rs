//! Every row of the verdict as the real kernel gives it, asked by the real agent, in every form of frame.

#[path = "../common/edge.rs"]
mod edge;
mod entries;
mod events;
mod expiry;
mod flood;
mod limits;
mod refusals;
mod rows;
mod thresholds;
mod unreadable;

fn main() {
    lab::run_tests(vec![
        ("every_row_over_every_frame_in_every_mode", rows::every_row),
        ("rows_hold_on_the_wire", rows::on_the_wire),
        (
            "thresholds_decide_and_change_by_reload",
            thresholds::thresholds,
        ),
        ("connections_are_limited", limits::connections),
        ("packets_are_limited", limits::packets),
        ("limits_count_a_source_and_a_64", limits::sources),
        ("a_low_reputation_is_limited_tighter", limits::reputation),
        ("who_is_exempt_is_never_limited", limits::never),
        ("limits_only_log_in_mode_log", limits::logged),
        ("a_reset_refuses_a_client_at_once", refusals::clients),
        ("a_reset_keeps_tags_and_is_right", refusals::frames),
        ("what_has_no_reset_is_dropped", refusals::dropped),
        ("unreadable_frames_pass_and_are_counted", unreadable::passed),
        (
            "unreadable_frames_are_dropped_on_request",
            unreadable::dropped,
        ),
        ("tiny_fragments_keep_their_port", unreadable::tiny_fragments),
        ("frames_of_many_pages_are_judged", unreadable::jumbo),
        (
            "prefixes_of_every_length_end_where_they_should",
            entries::lengths,
        ),
        ("the_strongest_live_entry_wins", entries::strongest),
        ("zones_inside_lists_say_so", entries::nested_zones),
        (
            "an_exemption_is_carved_out_and_taken_back",
            entries::carve_out,
        ),
        ("hits_are_counted_for_each_entry", entries::hits),
        ("the_kernel_ends_decisions_by_itself", expiry::without_agent),
        ("an_expired_entry_hides_nothing", expiry::hides_nothing),
        ("a_flood_changes_no_other_verdict", flood::interleaved),
        ("what_changes_in_a_flood_holds_at_once", flood::changes),
        ("a_flood_skips_the_table_where_it_may", flood::skips),
        ("events_are_bounded_under_a_flood", events::bounded),
        ("an_event_says_what_happened", events::told),
    ]);
}
