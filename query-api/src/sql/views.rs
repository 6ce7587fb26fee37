//! `sessions` and `controls`: what the partial rows of [`crate::tables`] add up to.
//!
//! The partial tables themselves are not visible to queries.

/// One row for each session.
pub(super) const SESSIONS: &str = r#"
SELECT
    session_id,
    first_value(root_session_id ORDER BY first_offset) AS root_session_id,
    first_value(parent_session_id ORDER BY first_offset) FILTER (WHERE parent_session_id IS NOT NULL) AS parent_session_id,
    first_value(title ORDER BY first_offset) FILTER (WHERE title IS NOT NULL) AS title,
    first_value(agent_id ORDER BY first_offset) AS agent_id,
    first_value(agent_version ORDER BY first_offset) FILTER (WHERE agent_version IS NOT NULL) AS agent_version,
    first_value(environment ORDER BY first_offset) FILTER (WHERE environment IS NOT NULL) AS environment,
    first_value(principal_id ORDER BY first_offset) FILTER (WHERE principal_id IS NOT NULL) AS principal_id,
    first_value(owner ORDER BY first_offset) FILTER (WHERE owner IS NOT NULL) AS owner,
    min(started_at) AS started_at,
    max(last_at) AS last_at,
    sum(steps) AS steps,
    sum(tool_calls) AS tool_calls,
    sum(errors) AS errors,
    sum(findings) AS findings,
    sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens,
    CAST(sum(cost_micro_usd) AS DOUBLE) / 1000000.0 AS cost_usd,
    CASE max(decision_rank)
        WHEN 0 THEN 'allow' WHEN 1 THEN 'warn' WHEN 2 THEN 'throttle' WHEN 3 THEN 'modify'
        WHEN 4 THEN 'step_up' WHEN 5 THEN 'deny' ELSE 'halt'
    END AS decision,
    last_value(standing ORDER BY last_offset) AS standing,
    last_value(standing ORDER BY last_offset) = 'halt' AS halted,
    bool_or(ended) AS ended
FROM session_parts
GROUP BY session_id
"#;

/// One row for each control, whatever number of partitions applied it.
pub(super) const CONTROLS: &str = r#"
SELECT
    control_id,
    first_value(action ORDER BY "offset") AS action,
    first_value(scope ORDER BY "offset") AS scope,
    first_value(scope_id ORDER BY "offset") AS scope_id,
    min(time) AS time,
    first_value(given_by ORDER BY "offset") AS given_by,
    first_value(reason ORDER BY "offset") AS reason,
    CASE WHEN bool_or(state = 'applied') THEN 'applied' ELSE 'requested' END AS state,
    count(DISTINCT "partition") FILTER (WHERE state = 'applied') AS applied_partitions,
    coalesce(bool_or(known), false) AS known
FROM control_events
GROUP BY control_id
"#;
