//! What of builds there is not.

use crate::edge::conn::Outcome;
use crate::filters::Filters;
use crate::reply;
use crate::router::Call;
use stdx::Result;

/// There is no build cache, so nothing goes: `docker system prune` asks in any case.
pub(crate) fn prune_builds(call: &Call) -> Result<Outcome> {
    Filters::parse(call.query.text("filters"))?;
    reply::ok(&serde_json::json!({ "CachesDeleted": null, "SpaceReclaimed": 0 }))
}
