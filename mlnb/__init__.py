"""Notebook pipelines for machine learning that can be traced, repeated and published

Modules:

- `mlnb.care.audit`: Write down what was done, so that nobody can take it back unseen
- `mlnb.care.burial`: Put a signed tombstone in the place of one object, and remove its content
- `mlnb.care.chain`: Lines that follow from one another, so that a change of any of them shows
- `mlnb.care.concerned`: A digest says nothing to a person; the records and runs that name it do
- `mlnb.care.erase`: Remove what somebody is entitled to have removed, with all that was made from it, and say so
- `mlnb.care.evidence`: What the store knows that the log does not tell, and the other way round
- `mlnb.care.exchanged`: A result that holds in the place of another
- `mlnb.care.gc`: Free the space of what nothing points to any more, while others go on reading and writing
- `mlnb.care.log_file`: Lines added one after another by many writers, and an end that tells a crash from a crime
- `mlnb.care.merkle`: One number for a log of any length, and short proofs that it only grew
- `mlnb.care.months`: The files of a log: this month at hand, older ones closed, and how long they are kept
- `mlnb.care.notes`: A checkpoint in the form that logs publish and witnesses sign
- `mlnb.care.repair`: Repair a damaged ref or run document from what else is known, or say plainly that nobody knows
- `mlnb.care.retention`: Lines of the log that were kept long enough
- `mlnb.care.roots`: What a store must keep, and what leads to it
- `mlnb.care.signing`: Say who vouches for a document, so that a reader can tell it from one that anybody could have written
- `mlnb.care.taken_over`: Look at tombstones that are there, and take over those of others
- `mlnb.care.tree_heads`: What a log was, signed, for whoever keeps it elsewhere
- `mlnb.care.verify`: Hash everything again, say what is damaged and whom it concerns, and repair what can be repaired
- `mlnb.care.violations`: Keep the record of what went wrong, from the day it was noticed to the day it is closed
- `mlnb.care.vouched`: Sign a result where it is made, and tell who vouches for what lies in a store
- `mlnb.cli`: `mlnb`: one way in and one way out, for all verbs
- `mlnb.data.definition`: What a feature is, said once as data, for the batch, for the stream and for the reader
- `mlnb.data.key_log`: The events of one key that still matter, and the windows that move over them
- `mlnb.data.online`: The same features, an event at a time, equal to what the whole table gives
- `mlnb.data.out_of_core`: The features of a stream that does not fit into memory, a part of its keys at a time
- `mlnb.data.partitions`: A stream on disk as deliveries come: one folder a day, read as one stream again or not at all
- `mlnb.data.schema`: Say what a table must look like, and set apart the rows that do not
- `mlnb.data.windows`: Every feature of a definition for every row of a table, without looking at a row twice
- `mlnb.flow.asking`: A run asks the sources that its stages need, and a source without an answer stops those stages alone
- `mlnb.flow.attempt`: One try of one stage, and the truth about how it ended
- `mlnb.flow.dependencies`: Which modules and packages a notebook's result depends on
- `mlnb.flow.ending`: What becomes of a stage that was tried, and what is kept of it
- `mlnb.flow.events`: A run as it happens, for whoever wants to watch it from elsewhere
- `mlnb.flow.fanout_parts`: What the stage of a fan-out saved under one name, a part for each value, read as one
- `mlnb.flow.freshness`: Whether a record holds for a step, and else why not
- `mlnb.flow.grid`: The same pipeline under every combination of a few values
- `mlnb.flow.heads`: Which run of a pipeline serves those who look at it from outside
- `mlnb.flow.journal`: What a stage did, told line by line while it runs
- `mlnb.flow.key`: Everything a result depends on, in one digest, with its parts kept
- `mlnb.flow.links`: Which symbolic links of a project a stage depends on
- `mlnb.flow.lock`: Let two runs of one project do each piece of work once
- `mlnb.flow.meaning`: What a name means to everybody who looks from outside a run
- `mlnb.flow.measures`: A metric over the parts of a fan-out: whole, or none, and how many parts it is of
- `mlnb.flow.mentioned`: Which files of a project the text of a stage speaks of
- `mlnb.flow.new_head`: When the end of a run becomes the result that others build on
- `mlnb.flow.observed`: What a stage used beyond its text, and whether that is as it was
- `mlnb.flow.observer`: Watches the stages of a run while they run
- `mlnb.flow.outside`: Files beyond the project that a stage read, and which of them are data
- `mlnb.flow.overlay`: What somebody saved by hand, where it lies, and how it goes away again
- `mlnb.flow.parameter_values`: Which value each parameter of a pipeline has, and where it came from
- `mlnb.flow.plan`: What would run now, in which order, and why
- `mlnb.flow.problems`: Everything that is wrong with notebooks, graphs, profiles and sources, before anything runs
- `mlnb.flow.progress`: What a run shows while it works
- `mlnb.flow.run`: Carry out a plan: what is stale, in order, side by side where it may, and commit each stage as it ends
- `mlnb.flow.run_document`: What a run says of itself from its first moment to its last, and what it has to remember
- `mlnb.flow.schedule`: Which stage can be decided next, found without looking at all the others
- `mlnb.flow.selection`: Which stages a run is about
- `mlnb.flow.session`: What `load`, `save`, `metric` and `require` do, in a run and by hand
- `mlnb.flow.sought`: Files that a stage may have looked for in vain
- `mlnb.flow.stage_use`: The answer to what a stage used beyond its key: what counts, what is kept, and what nobody could see
- `mlnb.flow.steps`: What a plan is made of, and which of its steps needs which
- `mlnb.flow.undeclared`: What is said of what a stage used and does not declare
- `mlnb.flow.use`: What a stage used beyond its key, told from what its kernel and the system saw
- `mlnb.flow.value_packages`: Packages that a stage uses because of what it loads, though it imports none of them
- `mlnb.fraud.champion`: The inputs and the model that beat the published figures, written down once
- `mlnb.fraud.daily`: The same stream of payments, one day at a time, in memory that does not grow with it
- `mlnb.fraud.features`: What a transaction looks like beside the habits of its customer and the past of its terminal
- `mlnb.fraud.model`: Train on payments, log their scores and draw their cards again, without naming a column each time
- `mlnb.fraud.payments`: What a card payment is, column by column, and which part each column plays
- `mlnb.fraud.prequential`: Judge a model on several weeks, one after another, and choose it on weeks that came before
- `mlnb.fraud.scenarios`: A stream that goes wrong on a known day, in a known way, so that monitoring can be seen to notice
- `mlnb.fraud.simulator`: A stream of card payments with three kinds of fraud, the same on every machine
- `mlnb.fraud.split`: Learn from one week, judge on a later one, and leave out what nobody could have known
- `mlnb.history.carried`: What a stage read by itself comes along when it is run again
- `mlnb.history.checkout`: The code of a run in a temporary project, beside the data that it read
- `mlnb.history.graph`: Which stage feeds which, as a document, as Mermaid text and as a drawing
- `mlnb.history.lineage`: From a row of outside data to a published number, and back
- `mlnb.history.lineage_drawing`: Where a value came from, as a text or a drawing
- `mlnb.history.nondeterminism`: How two results of one key differ, and why they may
- `mlnb.history.reproduce`: Run what was run once more, from what was kept, and compare
- `mlnb.history.results`: What was made: what every name means, and every version of one name
- `mlnb.history.run_diff`: What differs between two runs, down to the text of a cell
- `mlnb.history.runs_figure`: Runs side by side, drawn: each metric over what differed
- `mlnb.history.runs_table`: Runs side by side: what differed, what came out, which was best
- `mlnb.history.status`: What is fresh, what is stale and why, how it last ended, and which values hold
- `mlnb.kernel.answering`: A kernel answers each cell, whatever the cell did to the tasks that were to answer
- `mlnb.kernel.by_hand`: What a kernel that is not mlnb's own says about the numbers that come out of it
- `mlnb.kernel.bystanders`: Files that another process holds open, and that a stage therefore did not open
- `mlnb.kernel.caller`: Who asks the kernel server for something, and whether he may have it
- `mlnb.kernel.configuration`: What libraries read at import besides their code, and where they find it in a run
- `mlnb.kernel.door`: Which notebooks papermill brings to mlnb, and what is said of the others
- `mlnb.kernel.engine`: papermill's way to run a notebook, with mlnb's kernels and mlnb's strictness
- `mlnb.kernel.executor`: papermill, imported once and asked often
- `mlnb.kernel.folder_watch`: See which files of the project are opened while a stage runs, whoever opens them
- `mlnb.kernel.forked`: A notebook that is run by a process which was copied from another one
- `mlnb.kernel.given_parameters`: What papermill was given for a notebook, held against what the notebook declares
- `mlnb.kernel.group_limits`: What the control groups of a process let it have in the end
- `mlnb.kernel.group_rules`: Which devices a control group may open and whom it may talk to, compared without reading it
- `mlnb.kernel.growth`: Which template is made next, from which other one, and what if it cannot be made
- `mlnb.kernel.import_guard`: Importing a library leaves the stage's random numbers alone
- `mlnb.kernel.import_traces`: What an import leaves behind besides its modules, and whether a process may be copied after it
- `mlnb.kernel.inherited`: What a child gets from its parent, given to a process that has another one
- `mlnb.kernel.judgement`: How a notebook ended, from what its cells answered
- `mlnb.kernel.launch`: All that is decided about a notebook's kernel before there is one
- `mlnb.kernel.leases`: A spare in use belongs to whoever holds the connection, and ends with it
- `mlnb.kernel.limits`: The time and memory that a stage may take, and its end, with everything it started, when it takes more
- `mlnb.kernel.link`: The way to the kernel server: one for each user and environment, found by what it is
- `mlnb.kernel.loaded`: Which modules a process has loaded since somebody last looked
- `mlnb.kernel.memory_cap`: Let the operating system hold a stage to its memory, where it can
- `mlnb.kernel.observation`: What a stage's process loaded and opened, told by the process itself
- `mlnb.kernel.opening`: What it means that a file is opened or a folder listed
- `mlnb.kernel.output_caps`: The executed notebook stays small; the full text is kept beside it
- `mlnb.kernel.papermill_options`: What becomes of each argument that papermill takes, when mlnb runs the notebook
- `mlnb.kernel.passing_folders`: Folders in the temporary directory that do not outlive who made them
- `mlnb.kernel.pool`: Processes that are kept ready: templates of what stages import, and spares that wait for a stage
- `mlnb.kernel.private_channels`: A kernel of a run listens on no port, takes no frame without end, and makes no folder
- `mlnb.kernel.private_places`: Where sockets may lie so that nobody else can reach them, or put his own in their place
- `mlnb.kernel.process`: The kernel of a stage: a process that is the same everywhere, and leaves nothing behind
- `mlnb.kernel.proofs`: What the system does not show of two processes, and how one proves it to the other
- `mlnb.kernel.provisioner`: Jupyter's way to ask for a kernel, answered with one that is already there
- `mlnb.kernel.report_lines`: What a stage's process told of itself, read back
- `mlnb.kernel.server`: What is asked of the kernel server, and what it answers
- `mlnb.kernel.server_process`: How a kernel server begins, serves, and ends at whatever moment it is told to
- `mlnb.kernel.startup_imports`: What a stage is certain to import, known before it starts
- `mlnb.kernel.stopping`: Which kernel servers a person may end without taking anything from anybody, and the end of the others
- `mlnb.kernel.stuck`: Processes of the kernel server that were stopped, and who waits for them
- `mlnb.kernel.surroundings`: Where a process is and what it may do, and in what two processes differ
- `mlnb.kernel.switchboard`: Many connections, one thread: whoever has something to say is heard, one after the other
- `mlnb.kernel.templates`: Processes that have imported something, wait, and are copied on demand
- `mlnb.kernel.terminal_line`: What a line shows after it was written over
- `mlnb.kernel.values_by_hand`: A parameter that a run would refuse says so where it is typed
- `mlnb.kernel.way`: What a run does when the kernel server goes away, so that no stage waits for one that nobody starts
- `mlnb.models.bootstrap`: How sure the mean over several test weeks is, when the same units come back every week
- `mlnb.models.metrics`: How good is a model that looks for rare cases, and how sure can we be of that figure?
- `mlnb.models.predictions`: What was scored, by which model, in which run: written down before anybody knows the answer
- `mlnb.models.threshold`: From which score on an alert is worth its cost, in money
- `mlnb.models.training`: Fit a classifier on named inputs, and score with exactly those
- `mlnb.monitor.columns`: Which columns of two data windows can be compared, and why the others cannot
- `mlnb.monitor.drift`: Has the distribution of a column moved, by how much, and is that more than chance?
- `mlnb.monitor.evidently`: Pages that a person can explore, made from real Evidently reports, safe against what a batch may hold
- `mlnb.monitor.performance`: Did the model get worse, once the labels are there?
- `mlnb.monitor.quality`: Is this batch what it should be, before anybody looks at its distribution?
- `mlnb.notebook.bindings`: What a name means where it is called, by Python's rules of scope
- `mlnb.notebook.builds`: What a distribution installed, in one digest
- `mlnb.notebook.by_name`: Modules and files that code imports or runs by a name that is written out
- `mlnb.notebook.cells`: Read the cells of a notebook the way Python and IPython will, without running them
- `mlnb.notebook.clear_secrets`: A password or a token that stands written out in a notebook
- `mlnb.notebook.drafts`: Which files of a folder are stages, and which are notebooks that nobody has named yet
- `mlnb.notebook.each`: One stage for every value of a parameter: what the option `each` says
- `mlnb.notebook.edges`: Find what a notebook loads and saves by reading it
- `mlnb.notebook.gone`: A module of the project that is not there any more, where it was, and how it comes back
- `mlnb.notebook.imports`: What code imports, read from its text, and which files that executes
- `mlnb.notebook.installed_files`: Installed code that is no longer as it was installed, and what Python runs before anything else
- `mlnb.notebook.kernel_name`: Which kernel a notebook names, and what that means here
- `mlnb.notebook.magics`: What a magic or a line for the shell may do to a result, and what to write instead
- `mlnb.notebook.missing`: Imports of what is not installed, and environment variables that a run takes away
- `mlnb.notebook.missing_scripts`: A file that a stage runs and that is not there
- `mlnb.notebook.notebook_file`: What an `.ipynb` file is when it is no notebook, and what to do about it
- `mlnb.notebook.options`: How a stage is to be run, said in the notebook's first code cell
- `mlnb.notebook.packages`: What is installed here, which module each distribution brings, and what it needs itself
- `mlnb.notebook.parameters`: What a notebook lets others set: name, type, default, range, all read from one cell
- `mlnb.notebook.pipeline`: A folder of stages, and the graph that follows from their names
- `mlnb.notebook.ranges`: `1..60` at the end of a comment: which comments are read as a range, and which only look like one
- `mlnb.notebook.reach`: Which modules, scripts and folders the cells of a notebook reach, as far as the text says it
- `mlnb.notebook.read_cache`: What notebooks said when they were last read, remembered by their content
- `mlnb.notebook.scaffold`: A first project that runs: settings and two stages
- `mlnb.notebook.soundness`: One broken stage, and the others go on
- `mlnb.notebook.stage`: One notebook, read as a step of a pipeline
- `mlnb.notebook.types`: What a parameter can be: bool, int, float, str, their `| None`, `Literal`, lists and dicts of them
- `mlnb.notebook.variables`: Which environment variables code reads, found without running it
- `mlnb.notebook.written`: What code writes out without being run: names, texts and places
- `mlnb.publish.bitmaps`: Tell a picture of dots by its first bytes, and refuse one that unpacks to gigabytes
- `mlnb.publish.delimiters`: Find formulas among words, money and code
- `mlnb.publish.drawing_cost`: How much work a drawing makes for a browser, found out before one gets it
- `mlnb.publish.drawings`: An SVG written anew from what is allowed in it
- `mlnb.publish.embedding`: The sieve of a page that knows its project: pictures, links, places and colours find their way in
- `mlnb.publish.estimators`: Show a model of scikit-learn as its diagram, without script and without its hidden help
- `mlnb.publish.foretold`: What pages will not show, said before anything is published
- `mlnb.publish.formulas`: Show a formula as MathML that a browser draws by itself, or as its source
- `mlnb.publish.frames`: Show an interactive report without trusting it, and without repeating four megabytes for each
- `mlnb.publish.freshness`: Whether a page still shows what its notebook would give
- `mlnb.publish.history`: Gather what the pages will say: runs, their stages, verdicts, and what is no longer current
- `mlnb.publish.interactive`: Recognise what only a script would draw, and say what its author can do
- `mlnb.publish.layout`: The frame that every page stands in: what it may fetch, how it looks, how figures are written for people
- `mlnb.publish.ledger`: What a page shows otherwise than the notebook did, and what it leaves out
- `mlnb.publish.links`: From one notebook to another, as from one page to another
- `mlnb.publish.macros`: Put in what the macros of a formula stand for, within bounds
- `mlnb.publish.outputs`: What a cell showed, as markup that a browser may be given
- `mlnb.publish.overview`: The page of a run, and the index of all pipelines
- `mlnb.publish.page_cells`: Which cells of an executed notebook a page shows, and with which outputs
- `mlnb.publish.pages`: Make a page for readers from an executed notebook
- `mlnb.publish.pictures`: Put picture files of the project into a page, and no other file of the machine
- `mlnb.publish.places`: Headings and marked places of a notebook, and how links write them
- `mlnb.publish.prose`: Turn markdown and HTML that a notebook brought along into markup that is safe to publish
- `mlnb.publish.site`: Build `reports/`: an index, a page for each run and each stage notebook, and the reports they saved
- `mlnb.publish.stand_ins`: What stands on a page for elements that its sieve does not let through
- `mlnb.publish.styles`: Keep the colours that an output brought along, and nothing else of its style
- `mlnb.publish.tex`: Bring a formula as people write it into the words that the converter knows
- `mlnb.publish.widgets`: What a widget showed when its kernel ended
- `mlnb.sharing.anchors`: Keep what the audit log was where its owner cannot change it, and ask there
- `mlnb.sharing.exchanges`: What is said at a remote while somebody pushes, and by whoever pushed or pulled afterwards
- `mlnb.sharing.outdated`: What lies at a place already, there or here, and has to give way
- `mlnb.sharing.pull`: Take from a remote what is missing here, and believe none of it before it was checked
- `mlnb.sharing.push`: Copy to a remote what it lacks, so that whoever looks sees complete results or none
- `mlnb.sharing.remote`: A place on any file system that can be listed, read with a limit, and written so that nobody sees half a file
- `mlnb.sharing.remote_care`: Check a remote, and clean it only when asked to
- `mlnb.sharing.seen_refs`: Where the refs of a remote were seen, so that one that goes back is noticed
- `mlnb.sharing.trust`: What lies at a remote, and whose word counts there
- `mlnb.sources.last_pin`: What a source gave when it was asked last, and when a run asks again
- `mlnb.sources.lfs`: A file that stands for another one, which was not fetched
- `mlnb.sources.pin`: What a source means under a profile, now, and whether it still does when a stage ends
- `mlnb.sources.source`: Outside data under a name, pinned by digest when it is read
- `mlnb.sources.sql`: The answer of a database, kept because it will never give the same one again
- `mlnb.sources.url`: Outside data from another host, pinned by what actually arrived
- `mlnb.sources.watermark`: Read each partition once, and say so when an old one moves
- `mlnb.store.arrays`: Write an array so that equal arrays give equal bytes
- `mlnb.store.artifacts`: Put any value, file or folder into the store, and get an equal one back
- `mlnb.store.batches`: Many files at once, each as safe as one, for a fraction of the waiting.
- `mlnb.store.border`: What comes from a file is checked once, when it is read
- `mlnb.store.broken_off`: Say what happened when saving a value breaks off in code that is not ours
- `mlnb.store.charts`: Keep a figure of Plotly as the JSON that it is made of
- `mlnb.store.codecs`: Turn a value into bytes by its type, so that equal values give equal bytes and come back equal
- `mlnb.store.crash_points`: Named places at which a process can be made to die, and the promise that holds whichever it is
- `mlnb.store.derivation`: Which records were made from which: by who made what was read, not by equal bytes
- `mlnb.store.descriptions`: What a record says of a value, without the value
- `mlnb.store.digests`: Name a value by its content, so that equal content has one name and changed content another
- `mlnb.store.disk`: Write a file so that it is whole or not there at all, whatever happens meanwhile
- `mlnb.store.documents`: Small files of JSON that say when they were altered
- `mlnb.store.errors`: Say what happened, where, and what to do about it
- `mlnb.store.figures`: Draw a figure of matplotlib so that it is the same text every time
- `mlnb.store.git_state`: Which commit a run was made from, and what was changed since
- `mlnb.store.holders`: Tell who holds a file of the store, also from another machine, and when a machine last showed itself
- `mlnb.store.hosts`: Tell whether the process that left a mark lives here, may live somewhere else, or is gone
- `mlnb.store.ini_file`: What a file of settings says, section by section, or the line in which it says nothing
- `mlnb.store.inside`: Write below one folder, whatever the names say
- `mlnb.store.layout`: Which folder layout a store has, and how an older one becomes the current one
- `mlnb.store.model_files`: Keep a fitted estimator as data that can be read back without running it
- `mlnb.store.model_schemas`: What a model file would build, worked out before anything is built.
- `mlnb.store.names`: One grammar for everything that can be loaded
- `mlnb.store.objects`: Keep bytes under the digest of their content, whole or not at all
- `mlnb.store.observed_contents`: What a stage was seen to read by itself, as objects of its record
- `mlnb.store.opened`: A copy of a failed notebook, where JupyterLab can open it
- `mlnb.store.parquet_sizes`: What a table would take in memory, worked out from the headers of its pages.
- `mlnb.store.pins`: Tell a collection of garbage which objects a living process is about to use
- `mlnb.store.plain_values`: Write dicts, lists, numbers and text as JSON that gives back exactly the same
- `mlnb.store.project_id`: Which project a store belongs to, so that what was made or erased in one means nothing in another
- `mlnb.store.record`: What is written down of a stage that is done
- `mlnb.store.records`: The small file that says a stage is done, with what it was made of
- `mlnb.store.refs`: Names that move, and remember where they were
- `mlnb.store.run_entries`: What a run says of itself and of each of its stages
- `mlnb.store.runs`: One execution of a plan, kept with everything that was said about it
- `mlnb.store.settings`: Where things are, and which values each profile gives the parameters
- `mlnb.store.shown_text`: A terminal obeys what it is sent, so data is shown and never sent
- `mlnb.store.source_times`: How often a source is asked, and how long it is waited for
- `mlnb.store.tables`: Write frames, series and Arrow tables as Parquet, and refuse what would not come back equal
- `mlnb.store.tombstones`: Tell what was erased on purpose from what was lost
- `mlnb.store.url`: Say what a URL names without saying what it keeps secret
- `mlnb.store.user_lines`: Of an error, show the lines that its reader wrote, and no others
- `mlnb.store.value_limits`: What a value may grow to when it is read, and how many files it may be.
- `mlnb.store.verdict`: One machine-readable answer of a check, with the sentence that explains it
- `mlnb.store.zip_members`: The members of a zip that nobody vouches for, or none of them.
- `mlnb.terminal.arguments`: Two words behind `-p` that become a name and a value
- `mlnb.terminal.ask`: What is fresh, what made it stale, with which values, in which order, and what is wrong with the definitions
- `mlnb.terminal.audit`: `mlnb audit`: who did what, whether that can be believed, and what went wrong
- `mlnb.terminal.audit_entries`: What a verb writes to the audit log before it ends
- `mlnb.terminal.collection`: Free the space of what nobody needs any more
- `mlnb.terminal.erasure`: What was made from a value, and may all of it go
- `mlnb.terminal.frame`: A verb answers; how the answer is shown, printed and ended is the same for all of them
- `mlnb.terminal.keep`: List and take out what runs have made
- `mlnb.terminal.output`: A table for eyes, one document for programs, and complaints that end with the mend
- `mlnb.terminal.overlay`: `mlnb overlay`: what lies in your overlay, and how it goes away
- `mlnb.terminal.past`: What was run, how it ended, what differs between two runs, and where a value comes from
- `mlnb.terminal.plain_texts`: A text on the command line needs no validation, and so no library that validates
- `mlnb.terminal.project`: `mlnb init` and `mlnb kernels`: a first project, and kernels that wait for it
- `mlnb.terminal.publish`: `mlnb publish`: the pages in `reports/`
- `mlnb.terminal.remote`: Which place a command means, whose word counts there, and what was refused
- `mlnb.terminal.run`: `mlnb run` and `mlnb reproduce`: what starts kernels
- `mlnb.terminal.run_options`: Which stages of a pipeline are to be run, and how: what stands behind `mlnb run`
- `mlnb.terminal.share`: `mlnb push` and `mlnb pull`: to and from a place that colleagues and CI can reach
- `mlnb.terminal.streams`: Where output goes, when nobody reads it, the disk is full, or it was closed
- `mlnb.terminal.verification`: Is everything that is kept still what it was; and if not, bring it back or make it again
- `mlnb.terminal.violation`: What is said of a violation on the command line, and the record that it becomes"""

import os
import sys
from importlib import import_module

__version__ = "0.1.0"
_homes = {name: "mlnb.flow.session" for name in ("artifact_digest", "load", "metric", "require", "run_id", "save")}
__all__ = ["__version__", *sorted(_homes)]
TYPE_CHECKING = False  # for type checkers, who take it to be true; `typing` itself is not needed for it
if TYPE_CHECKING:
    from mlnb.flow.session import artifact_digest as artifact_digest
    from mlnb.flow.session import load as load
    from mlnb.flow.session import metric as metric
    from mlnb.flow.session import require as require
    from mlnb.flow.session import run_id as run_id
    from mlnb.flow.session import save as save
else:

    def __getattr__(name):
        if name not in _homes:
            raise AttributeError(f"module 'mlnb' has no attribute {name!r}")
        return getattr(import_module(_homes[name]), name)


def __dir__():
    return __all__


if "ipykernel.kernelapp" in sys.modules and "MLNB_STAGE" not in os.environ:
    import_module("mlnb.kernel.by_hand").begin_by_hand()  # in somebody else's kernel
