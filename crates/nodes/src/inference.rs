//! What nodes with a model have in common: how the model is chosen and loaded, how many frames are
//! worked on at a time, and what the node shows of it.

use edgeflow::{Context, Detection, Fact, NodeError, Timer, tracing};
use edgeflow_infer::model::{Model, Timings};
use edgeflow_infer::{Found, LoadOptions, Provider};
use edgeflow_model::Description;

/// Frames that are worked on at a time, at most, where the node chooses.
const MAX_WORKERS: usize = 4;

/// Folder of the node's own folder with what accelerators have compiled.
const ENGINES: &str = "engines";

/// Parameters of a node that say which model it takes and what that runs on.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) model: &'a str,
    pub(crate) provider: Option<&'a str>,
    pub(crate) threads: usize,
    /// Frames at a time.
    pub(crate) parallel: usize,
}

impl Wanted<'_> {
    /// Loads the model: one that was brought here for the node, or else one that the device has.
    pub(crate) fn load(&self, ctx: &Context) -> Result<Model, NodeError> {
        let options = LoadOptions {
            provider: provider(self.provider)?,
            threads: self.threads,
            library_dirs: ctx.asset_dirs().to_vec(),
            spare: self.parallel > 1,
            cache_dir: engines(ctx),
        };
        let Some(brought) = ctx.model(self.model) else {
            return Ok(Model::load(self.model, ctx.asset_dirs(), &options)?);
        };
        let told = match brought.description.as_str() {
            "" => Description::default(),
            text => Description::from_json(text.as_bytes())?,
        };
        let path = brought.path.clone();
        Ok(Model::load_file(self.model, path, &told, &options)?)
    }
}

/// How many frames are worked on at a time for a wish of so many; 0: one for each core.
pub(crate) fn workers(wanted: usize) -> usize {
    match wanted {
        0 => std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(MAX_WORKERS),
        some => some,
    }
}

/// Shows what was loaded.
pub(crate) fn show(ctx: &Context, model: &Model, parallel: usize) {
    let (family, runtime) = (model.family().name(), model.runtime());
    let path = model.path().display();
    tracing::info!(model = model.name(), %path, family, runtime, "model loaded");
    ctx.fact("model")
        .set(format!("{} ({family})", model.name()));
    ctx.fact("runtime").set(runtime);
    let passed_over = model.passed_over();
    if !passed_over.is_empty() {
        tracing::info!(?passed_over, "not taken");
        ctx.fact("passed_over").set(passed_over.join("; "));
    }
    ctx.fact("workers").set(parallel.to_string());
}

/// What a detector found as frames have it, with the names of its classes.
pub(crate) fn named(found: Found, model: &Model) -> impl Iterator<Item = Detection> {
    let Found { boxes, outlines } = found;
    let outlines = outlines.into_iter().chain(std::iter::repeat(Vec::new()));
    boxes
        .into_iter()
        .zip(outlines)
        .map(|(at, outline)| Detection {
            label: model.label(at.class).into_owned(),
            score: at.score,
            x: at.x,
            y: at.y,
            w: at.w,
            h: at.h,
            outline,
        })
}

fn provider(name: Option<&str>) -> Result<Provider, NodeError> {
    let Some(name) = name else {
        return Ok(Provider::Auto);
    };
    Provider::by_name(name).ok_or_else(|| {
        let known = Provider::ALL.map(|(name, _)| name).join(", ");
        NodeError::new(format!(
            "parameter `provider`: there is no `{name}`; it can be {known}"
        ))
    })
}

/// Without it engines are compiled at each start.
fn engines(ctx: &Context) -> Option<std::path::PathBuf> {
    let dir = ctx.state_dir().join(ENGINES);
    match std::fs::create_dir_all(&dir) {
        Ok(()) => Some(dir),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "compiled engines are not kept");
            None
        }
    }
}

/// What the node shows of pictures that the model takes together.
#[derive(Debug)]
pub(crate) struct Batches {
    fact: Fact,
    largest: usize,
    given_up: bool,
}

impl Batches {
    pub(crate) fn new(ctx: &Context) -> Self {
        Self {
            fact: ctx.fact("batch"),
            largest: 1,
            given_up: false,
        }
    }

    pub(crate) fn look(&mut self, model: &Model) {
        let largest = model.largest_batch();
        if largest > self.largest && !self.given_up {
            self.largest = largest;
            self.fact.set(format!("up to {largest}"));
        }
        if let Some(why) = model.no_batches().filter(|_| !self.given_up) {
            self.given_up = true;
            tracing::warn!(why, "the model takes one picture at a time after all");
            self.fact.set(format!("none: {why}"));
        }
    }
}

/// Where the time goes.
#[derive(Debug)]
pub(crate) struct Parts {
    decode: Timer,
    prepare: Timer,
    infer: Timer,
    last: Timer,
}

impl Parts {
    /// `last`: what the model's outputs become.
    pub(crate) fn new(ctx: &Context, last: &str) -> Self {
        Self {
            decode: ctx.timer("decode"),
            prepare: ctx.timer("prepare"),
            infer: ctx.timer("infer"),
            last: ctx.timer(last),
        }
    }

    pub(crate) fn record(&self, timings: &Timings) {
        self.decode.record(timings.decode);
        self.prepare.record(timings.prepare);
        self.infer.record(timings.infer);
        self.last.record(timings.boxes);
    }
}
