"""Notebook pipelines for machine learning that can be traced, repeated and published

Modules:

- `mlnb.cli`: `mlnb`: verbs that answer with a table, with one JSON document, and with an exit code
- `mlnb.data.daily`: The same stream of payments, one day at a time, in memory that does not grow with it
- `mlnb.data.definition`: What a feature is, said once as data, for the batch, for the stream and for the reader
- `mlnb.data.features`: What a transaction looks like beside the habits of its customer and the past of its terminal
- `mlnb.data.online`: The same features, an event at a time, equal to what the whole table gives
- `mlnb.data.outofcore`: The features of a stream that does not fit into memory, a part of its keys at a time
- `mlnb.data.partitions`: A stream on disk as a payments company has it: one folder a day, read as one stream again or not at all
- `mlnb.data.scenarios`: A stream that goes wrong on a known day, in a known way, so that monitoring can be seen to notice
- `mlnb.data.schema`: Say what a table must look like, and set apart the rows that do not
- `mlnb.data.simulator`: A stream of card payments with three kinds of fraud, the same on every machine
- `mlnb.data.windows`: Every feature of a definition for every row of a table, without looking at a row twice
- `mlnb.flow.attempt`: One try of one stage, and the truth about how it ended
- `mlnb.flow.compare`: Runs side by side: what differed, what came out, which was best
- `mlnb.flow.comparison`: How two results of one key differ, and why they may
- `mlnb.flow.dependencies`: Which modules and packages a notebook's result depends on
- `mlnb.flow.diff`: What differs between two runs, down to the text of a cell
- `mlnb.flow.each`: One stage for every value of a parameter: what the option `each` says
- `mlnb.flow.edges`: Find what a notebook loads and saves by reading it
- `mlnb.flow.engine`: papermill's way to run a notebook, with mlnb's kernels and mlnb's strictness
- `mlnb.flow.events`: A run as it happens, for whoever wants to watch it from elsewhere
- `mlnb.flow.executor`: papermill, imported once and asked often
- `mlnb.flow.grid`: The same pipeline under every combination of a few values
- `mlnb.flow.heads`: What a name means outside the pipeline that makes it
- `mlnb.flow.import_guard`: Importing a library leaves the stage's random numbers alone
- `mlnb.flow.import_traces`: What an import leaves behind besides its modules, and whether a process may be copied after it
- `mlnb.flow.kernel_server`: Keeps templates and waiting kernels, hands them out, and ends what nobody holds any more
- `mlnb.flow.kernels`: A process for each stage, the same one everywhere, that leaves nothing behind
- `mlnb.flow.key`: Everything a result depends on, in one digest, with its parts kept
- `mlnb.flow.launch`: All that is decided about a notebook's kernel before there is one
- `mlnb.flow.lineage`: From a row of outside data to a published number, and back
- `mlnb.flow.lock`: Let two runs of one project do each piece of work once
- `mlnb.flow.memory_cap`: Let the operating system hold a stage to its memory, where it can
- `mlnb.flow.notebook`: Read the code of a notebook the way Python and IPython will, without running it
- `mlnb.flow.options`: How a stage is to be run, said in the notebook's first code cell
- `mlnb.flow.output_caps`: The executed notebook stays small; the full text is kept beside it
- `mlnb.flow.parameters`: What a notebook lets others set: name, type, default, range, all read from one cell
- `mlnb.flow.parts`: What the stage of a fan-out saved under one name, a part for each value, read as one
- `mlnb.flow.pipeline`: A folder of stages, and the graph that follows from their names
- `mlnb.flow.plan`: What would run now, in which order, and why
- `mlnb.flow.progress`: What a run shows while it works
- `mlnb.flow.provisioner`: Jupyter's way to ask for a kernel, answered with one that is already there
- `mlnb.flow.reading`: What notebooks said when they were last read, remembered by their content
- `mlnb.flow.reproduce`: Run what was run once more, from what was kept, and compare
- `mlnb.flow.run`: Carry out a plan: what is stale, in order, side by side where it may, and commit each stage as it ends
- `mlnb.flow.scaffold`: A first project that runs: settings and two stages
- `mlnb.flow.schedule`: Which stage can be decided next, found without looking at all the others
- `mlnb.flow.selection`: Which stages a run is about
- `mlnb.flow.server_link`: One server for each user and environment, found by what it is
- `mlnb.flow.session`: What `load`, `save`, `metric` and `require` do, in a run and by hand
- `mlnb.flow.stage`: One notebook, read as a step of a pipeline
- `mlnb.flow.startup_imports`: What a stage is certain to import, known before it starts
- `mlnb.flow.templates`: Processes that have imported something, wait, and are copied on demand
- `mlnb.flow.values`: Which value each parameter of a pipeline has, and where it came from
- `mlnb.flow.views`: The answers behind the verbs, as plain documents
- `mlnb.flow.watch`: End a stage that takes too long or too much, and everything it started
- `mlnb.models.bootstrap`: How sure the mean over several test weeks is, when the same cards come back every week
- `mlnb.models.champion`: The inputs and the model that beat the published figures, written down once
- `mlnb.models.metrics`: How good is a fraud model, and how sure can we be of that figure?
- `mlnb.models.predictions`: What was scored, by which model, in which run: one row per transaction, written down before anybody knows the answer
- `mlnb.models.prequential`: Judge a model on several weeks, one after another, and choose it on weeks that came before
- `mlnb.models.split`: Learn from one week, judge on a later one, and leave out what nobody could have known
- `mlnb.models.threshold`: From which score on an alert is worth its cost, in money
- `mlnb.models.training`: Fit a classifier on named inputs, and score with exactly those
- `mlnb.monitor.columns`: Which columns of two data windows can be compared, and why the others cannot
- `mlnb.monitor.drift`: Has the distribution of a column moved, by how much, and is that more than chance?
- `mlnb.monitor.evidently`: Pages that a person can explore, made from real Evidently reports, safe against what a batch may hold
- `mlnb.monitor.performance`: Did the model get worse, once the labels are there?
- `mlnb.monitor.quality`: Is this batch what it should be, before anybody looks at its distribution?
- `mlnb.monitor.verdict`: One machine-readable answer of a check, with the sentence that explains it
- `mlnb.publish.battery`: Make a page of what was last done to the store on purpose, and how often it kept its promise
- `mlnb.publish.frames`: Show an interactive report without trusting it, and without repeating four megabytes for each
- `mlnb.publish.history`: Gather what the pages will say: runs, their stages, verdicts, and what is no longer current
- `mlnb.publish.layout`: The frame that every page stands in: what it may fetch, how it looks, how figures are written for people
- `mlnb.publish.outputs`: What a cell showed, as markup that a browser may be given
- `mlnb.publish.pages`: Make a page for readers from an executed notebook
- `mlnb.publish.prose`: Turn markdown and HTML that a notebook brought along into markup that is safe to publish
- `mlnb.publish.site`: Build `reports/`: an index, a page for each run and each stage notebook, and the reports they saved
- `mlnb.store.arrays`: Write an array so that equal arrays give equal bytes
- `mlnb.store.artifacts`: Put any value, file or folder into the store, and get an equal one back
- `mlnb.store.audit`: Write down what was done, so that nobody can take it back unseen
- `mlnb.store.codecs`: Turn a value into bytes by its type, so that equal values give equal bytes and come back equal
- `mlnb.store.crash_points`: Named places at which a process can be made to die, and the promise that holds whichever it is
- `mlnb.store.digests`: Name a value by its content, so that equal content has one name and changed content another
- `mlnb.store.disk`: Write a file so that it is whole or not there at all, whatever happens meanwhile
- `mlnb.store.documents`: Small files of JSON that say when they were altered
- `mlnb.store.erase`: Remove what somebody is entitled to have removed, with all that was made from it, and say so
- `mlnb.store.errors`: Say what happened, where, and what to do about it
- `mlnb.store.exchange`: What lies at a remote, and whose word counts there
- `mlnb.store.gc`: Free the space of what nothing points to any more, while others go on reading and writing
- `mlnb.store.layout`: Which folder layout a store has, and how an older one becomes the current one
- `mlnb.store.model_files`: Keep a fitted estimator as data that can be read back without running it
- `mlnb.store.names`: One grammar for everything that can be loaded
- `mlnb.store.objects`: Keep bytes under the digest of their content, whole or not at all
- `mlnb.store.pins`: Tell a collection of garbage which objects a living process is about to use
- `mlnb.store.pull`: Take from a remote what is missing here, and believe none of it before it was checked
- `mlnb.store.push`: Copy to a remote what it lacks, so that whoever looks sees complete results or none
- `mlnb.store.rebuild`: Make a damaged ref or run document again from what else is known, or say plainly that nobody knows
- `mlnb.store.records`: The small file that says a stage is done, with what it was made of
- `mlnb.store.refs`: Names that move, and remember where they were
- `mlnb.store.remote`: A place on any file system that can be listed, read with a limit, and written so that nobody sees half a file
- `mlnb.store.runs`: One execution of a plan, kept with everything that was said about it
- `mlnb.store.settings`: Where things are, and which values each profile gives the parameters
- `mlnb.store.signing`: Say who vouches for a document, so that a reader can tell it from one that anybody could have written
- `mlnb.store.source_pins`: What a source means under a profile, now, and whether it still does when a stage ends
- `mlnb.store.source_sql`: The answer of a database, kept because it will never give the same one again
- `mlnb.store.source_urls`: Outside data from another host, pinned by what actually arrived
- `mlnb.store.sources`: Outside data under a name, pinned by digest when it is read
- `mlnb.store.tombstones`: Tell what was erased on purpose from what was lost
- `mlnb.store.upkeep`: Check a remote, and clean it only when asked to
- `mlnb.store.verify`: Hash everything again, say what is damaged and whom it concerns, and mend what can be mended
- `mlnb.store.violations`: Keep the record of what went wrong, from the day it was noticed to the day it is closed
- `mlnb.store.watermark`: Read each partition once, and say so when an old one moves
- `mlnb.store_verbs`: Verify, clean, share, erase, vouch for, trace and repeat what was kept
- `mlnb.terminal`: What the verbs of the command line share: words, tables, documents, options"""

from importlib import import_module

__version__ = "0.1.0"
_homes = {name: "mlnb.flow.session" for name in ("artifact_digest", "load", "metric", "require", "run_id", "save")}
__all__ = ["__version__", *sorted(_homes)]


def __getattr__(name):
    if name not in _homes:
        raise AttributeError(f"module 'mlnb' has no attribute {name!r}")
    return getattr(import_module(_homes[name]), name)


def __dir__():
    return __all__
