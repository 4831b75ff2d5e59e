"""The queue before the models, and the worker processes that empty it batch by batch."""

import asyncio
import logging
import multiprocessing
import signal
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gpvit.errors import UserError
from gpvit.serve.messages import Answer, Question, Setup, busy

_LOG = logging.getLogger("gpvit.serve")


@dataclass(eq=False)
class Job:
    """An image in the queue, and the answer to come."""

    question: Question
    data: bytes
    answer: "asyncio.Future[Answer]"


class Worker:
    """A process with the models; `load` and `ask` wait for it, and `stop` ends such a wait.

    Args:
        setup: What it loads.
    """

    def __init__(self, setup: Setup) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=_run, args=(theirs, setup), daemon=True)
        self.process.start()
        theirs.close()  # so that its end is the end of the pipe

    def load(self) -> list[dict[str, Any]]:
        """Wait until the models are loaded, and return what they are.

        Raises:
            UserError: A model cannot be loaded.
        """
        try:
            models: list[dict[str, Any]] | str = self._pipe.recv()
        except EOFError:
            self.process.join()
            models = f"a worker ended with code {self.process.exitcode} while it loaded the models"
        if isinstance(models, str):
            raise UserError(models)
        return models

    def ask(self, question: Question, images: list[bytes]) -> list[Answer]:
        """Have images answered; raises EOFError or OSError if the process dies meanwhile."""
        self._pipe.send((question, images))
        answers: list[Answer] = self._pipe.recv()
        return answers

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.join()


def _run(pipe: Connection, setup: Setup) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal, for all its processes: the front ends this one
    from gpvit.serve.worker import work  # loads torch, which the front does without

    work(pipe, setup)


class Pool:
    """Workers, each with a task of the event loop that gathers batches for it.

    Equal questions that wait are asked together, as many as the model takes at once; the first of them waits no longer
    than `wait_s` for others. A worker that dies, or takes longer than the limit, is replaced, and its images fail with
    503.
    """

    def __init__(self, setup: Setup, wait_s: float, registry: CollectorRegistry) -> None:
        self.setup, self.wait_s = setup, wait_s
        self._waiting: deque[Job] = deque()
        self._unanswered: set[Job] = set()
        self._arrived, self._turn = asyncio.Event(), asyncio.Lock()
        self._workers: list[Worker | None] = [Worker(setup) for _ in range(setup.workers)]
        for worker in filter(None, self._workers):  # all of them say the same
            self.models = {facts["name"]: facts for facts in worker.load()}
        Gauge("gpvit_queue_images", "Images that wait.", registry=registry).set_function(lambda: len(self._waiting))
        Gauge("gpvit_workers", "Workers that are up.", registry=registry).set_function(lambda: self.up)
        self._lost = Counter("gpvit_workers_lost", "Workers that died or hung.", registry=registry)
        sizes = (1, 2, 4, 8, 16, 32, 64)
        self._sizes = Histogram("gpvit_batch_images", "Images of a batch.", ["model"], buckets=sizes, registry=registry)

    @property
    def up(self) -> int:
        """How many workers answer."""
        return sum(worker is not None and worker.process.is_alive() for worker in self._workers)

    async def answer(self, question: Question, images: list[bytes]) -> list[Answer]:
        """Answer images; refuses all of them if the queue has no room for so many."""
        if len(self._waiting) + len(images) > max(self.setup.limits.queue, len(images)):
            raise busy(f"{len(self._waiting)} images are waiting; try again")
        loop = asyncio.get_running_loop()
        jobs = [Job(question, data, loop.create_future()) for data in images]
        self._unanswered.update(jobs)
        self._waiting.extend(jobs)
        self._arrived.set()
        try:
            async with asyncio.timeout(self.setup.limits.seconds):
                return [await job.answer for job in jobs]
        except TimeoutError:
            raise busy(f"no answer within {self.setup.limits.seconds:g} s; try again") from None
        finally:
            self._unanswered.difference_update(jobs)
            for job in jobs:
                job.answer.cancel()
            self._waiting = deque(job for job in self._waiting if not job.answer.done())

    def give_up(self) -> None:
        """Answer all that is asked with 503."""
        for job in self._unanswered:
            if not job.answer.done():
                job.answer.set_result(busy("the service ends").answer)

    async def run(self) -> None:
        """Answer until cancelled, and end the workers."""
        try:
            async with asyncio.TaskGroup() as lanes:
                for place in range(len(self._workers)):
                    lanes.create_task(self._serve(place))
        finally:
            for worker in filter(None, self._workers):
                worker.stop()

    async def _serve(self, place: int) -> None:
        while True:
            if (worker := self._workers[place]) is None:
                worker = Worker(self.setup)
                try:
                    await asyncio.to_thread(worker.load)
                    self._workers[place] = worker
                except asyncio.CancelledError:  # the service ends, and waits for the thread
                    worker.stop()
                    raise
                except Exception as error:  # a file that is gone, a full memory
                    _LOG.error("no new worker: %s", error)
                    await asyncio.sleep(1)
                continue
            async with self._turn:
                batch = await self._gather()
            if not worker.process.is_alive():  # it died while nobody asked
                self._waiting.extendleft(reversed(batch))
                self._lose(place)
                continue
            question, images = batch[0].question, [job.data for job in batch]
            self._sizes.labels(question.model).observe(len(batch))
            asking = asyncio.create_task(asyncio.to_thread(worker.ask, question, images))
            try:
                answers = await asyncio.wait_for(asyncio.shield(asking), self.setup.limits.seconds)
            except asyncio.CancelledError:  # the service ends
                worker.stop()
                with suppress(Exception):
                    await asking
                raise
            except Exception:  # it died, or took too long
                self._lose(place)
                with suppress(Exception):
                    await asking
                answers = [busy("the worker that had this image died or took too long; try again").answer] * len(batch)
            for job, answer in zip(batch, answers, strict=True):
                if not job.answer.done():
                    job.answer.set_result(answer)

    def _lose(self, place: int) -> None:
        """End a worker, if it has not ended, and have its place filled again."""
        if (worker := self._workers[place]) is not None:
            worker.stop()
            _LOG.error("worker %s ended with code %s and is replaced", worker.process.pid, worker.process.exitcode)
        self._workers[place] = None
        self._lost.inc()

    async def _gather(self) -> list[Job]:
        """Take the oldest image and those that are asked the same."""
        loop = asyncio.get_running_loop()
        deadline = None
        while True:
            if self._waiting:
                question = self._waiting[0].question
                size = 1 if question.verb == "groups" else self.models[question.model]["batch_size"]
                batch = [job for job in self._waiting if job.question == question][:size]
                deadline = deadline or loop.time() + self.wait_s
                if len(batch) == size or loop.time() >= deadline:
                    self._waiting = deque(job for job in self._waiting if job not in batch)
                    return batch
            else:
                deadline = None  # whoever waited has given up
            self._arrived.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._arrived.wait()
