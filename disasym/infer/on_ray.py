"""`disasym infer --ray`: the stages of a run on the machines of a Ray cluster, by Ray Data.

Films are found, and results written, by the process that is started; loading and finishing are tasks on any machine,
the engine is open in one actor a machine, or one a GPU. What flows between them, how much of it may wait, and what is
done again when a process or a machine is lost is Ray Data's. Rows are those of a local run: the same functions make
them (`stages.py`, `finish.py`), and the folder of results is kept by the same `Store`. docs/ray.md: how to use it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from disasym import __version__
from disasym.engines import EngineInfo
from disasym.errors import EngineError
from disasym.infer.finish import Finished
from disasym.infer.jobs import Job, Work, check_places, find_work
from disasym.infer.progress import Display
from disasym.infer.ray_connection import connected, first_line, patience
from disasym.infer.ray_stages import (
    ElsewhereEngine,
    Model,
    Note,
    Opened,
    ScoreBlock,
    differ,
    finish_block,
    items_of,
    load_block,
    look,
    sees,
    unpacked,
    versioned,
)
from disasym.infer.run import InferOptions, Summary, conduct, default_model
from disasym.infer.stages import Failed
from disasym.infer.store import Store
from disasym.infer.wanted import Wanted, wanted

BLOCK = 8  # pairs in a task: enough that Ray's share of its time is small, few enough to spread 200 over a cluster


@dataclass(frozen=True)
class Machines:
    """A cluster as this run uses it."""

    nodes: tuple[Any, ...]  # as Ray describes them
    engines: int  # actors
    opened: Opened  # what each of them has open
    info: EngineInfo  # of that
    gpus: int  # of one actor

    def batch(self, options: InferOptions) -> int:
        """Pairs in one run of an engine."""
        return min(options.batch, self.info.max_batch or options.batch)


def infer_on_ray(options: InferOptions, address: str) -> Summary:
    """`infer` on the cluster at `address`: "host:port", "auto" for the one this machine is part of, "local" for none.

    `options.workers` is how many blocks are loaded at a time in the whole cluster; None: one a core.

    Raises:
        MissingExtraError: Ray is not installed.
        InputError: as `infer`, or there is no such cluster.
        EngineError: a machine cannot open the model, does not see the films, or would make other rows than the others;
            or the cluster came to a standstill. What is done stays done.
        ManifestError: as `infer`.
    """
    options = replace(options, source=options.source.absolute())
    path = (options.model or default_model()).absolute()
    model = Model(path, options.engine, options.device, options.threads)
    check_places(options.source, options.out)
    with connected(address):
        machines = _inspected(model)
        engine = ElsewhereEngine(machines.opened.name, machines.info)
        asked = wanted(options.write, engine, path)
        return conduct(engine, options, asked, lambda store, _: _Cluster(options, model, machines, asked, store))


@dataclass(frozen=True)
class _Cluster:
    """The way over a cluster: the source is searched here, before any pair is begun."""

    options: InferOptions
    model: Model
    machines: Machines
    asked: Wanted
    store: Store
    told: dict[str, None] = field(default_factory=dict)  # notes of all machines, each once

    @property
    def batch(self) -> int:
        return self.machines.batch(self.options)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self.told)

    def search(self, shown: Display) -> Work:
        options = self.options
        return find_work(options.source, options.out, options.include_processing, shown.file)

    def score(self, jobs: list[Job], shown: Display) -> int:
        """Results are kept in the order in which they come."""
        failed = 0
        if jobs:
            _see(self.machines, jobs[0].right.path)
        for job in jobs:
            self.store.begin(job)
        for end in _ended(jobs, self.model, self.machines, self.options, self.asked):
            if isinstance(end, Note):
                self.told[end.text] = None
                continue
            self.store.keep(end)
            failed += isinstance(end, Failed)
            shown.scored(1)
        return failed


def _ended(
    jobs: Sequence[Job], model: Model, machines: Machines, options: InferOptions, asked: Wanted
) -> Iterator[Finished | Failed | Note]:
    """All pairs through all stages, each once, as they end."""
    if not jobs:
        return
    import ray
    from ray.data import ActorPoolStrategy, TaskPoolStrategy

    info = machines.info
    batch = machines.batch(options)
    pairs = (
        ray.data.from_items(items_of(jobs), override_num_blocks=-(-len(jobs) // BLOCK))
        .map_batches(
            load_block,
            batch_size=None,
            compute=TaskPoolStrategy(options.workers),
            num_cpus=1,
            fn_kwargs={"height": info.height, "width": info.width},
        )
        .map_batches(
            ScoreBlock,
            batch_size=batch,
            compute=ActorPoolStrategy(size=machines.engines),
            # No core is asked for: it takes what the loaders leave, as in one process, and never leaves them none.
            **({"num_gpus": machines.gpus} if machines.gpus else {"num_cpus": 0}),
            fn_constructor_kwargs={"model": model, "batch": batch, "wanted": machines.opened},
        )
        .map_batches(
            finish_block,
            batch_size=None,
            num_cpus=1,
            fn_kwargs={"name": machines.opened.name, "info": info, "asked": asked},
        )
    )
    ended: set[str] = set()
    with _said(options):
        for block in pairs.iter_batches(batch_size=None, batch_format="numpy"):
            for end in unpacked(block):
                if isinstance(end, Note):
                    yield end
                elif end.job.pair_id not in ended:  # whatever is done again: a pair ends once
                    ended.add(end.job.pair_id)
                    yield end


def _inspected(model: Model) -> Machines:
    """Have every machine open the model, before any pair is begun.

    Raises:
        EngineError: one cannot, or they differ.
    """
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    gpus = int(model.device == "cuda")
    engines = [int(node["Resources"].get("GPU", 0)) if gpus else 1 for node in nodes]
    if not sum(engines):
        raise EngineError(
            f"the cluster has {len(nodes)} machines with processors for tasks"
            f"{' and no GPU' if gpus and nodes else ''}: add some, or ask for another device"
        )
    running = [node for node, actors in zip(nodes, engines, strict=True) if actors]
    loading = [node for node, actors in zip(nodes, engines, strict=True) if not actors]
    opened = [*_ask(running, gpus, look, model), *_ask(loading, 0, versioned)]
    first = opened[0]
    for each in opened:
        if each.problem:
            raise EngineError(f"{each.host}: {each.problem}")
        if each.version != first.version or (each.info and each.identity != first.identity):
            raise EngineError(differ(first, each))
    assert first.info is not None  # noqa: S101 - it has no problem
    return Machines(tuple(nodes), sum(engines), first, first.info, gpus)


def _see(machines: Machines, film: Path) -> None:
    """Every machine must see the films where this one does."""
    for host, there in _ask(machines.nodes, 0, sees, film):
        if not there:
            raise EngineError(f"{host}: {film} is not there: every machine must see the same files at the same place")


def _ask(nodes: Sequence[Any], gpus: int, what: Callable[..., Any], *arguments: object) -> list[Any]:
    """The answer of each machine."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    answers = [
        ray.remote(what)
        .options(
            num_cpus=0,
            num_gpus=gpus,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
        )
        .remote(*arguments)
        for node in nodes
    ]
    found = []
    for answer, node in zip(answers, nodes, strict=True):
        try:
            found.append(ray.get(answer))
        except ray.exceptions.RayError as error:
            raise EngineError(
                f"{node['NodeManagerHostname']} cannot run disasym {__version__} ({first_line(error)}): install the"
                " same version and Python on every machine of the cluster"
            ) from None
    return found


@contextmanager
def _said(options: InferOptions) -> Iterator[None]:
    """What ends a run on a cluster, as one sentence."""
    import ray
    from ray.data.exceptions import ExecutionTimeoutError

    go_on = f"the pairs in {options.out} stay done, the same command goes on"
    try:
        yield
    except ExecutionTimeoutError:
        raise EngineError(
            f"nothing happened on the cluster for {patience():.0f} s: its machines are lost, or a film ends every"
            f" process that reads it (a run without --ray finds out which); {go_on}"
        ) from None
    except ray.exceptions.RayError as error:
        raise EngineError(f"the run on the cluster failed ({first_line(error)}); {go_on}") from error
