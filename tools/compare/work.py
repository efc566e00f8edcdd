"""The works that are timed, which are the rows of the tables."""
from dataclasses import dataclass

THREADS = 2


@dataclass(frozen=True)
class Work:
    config: str
    mode: str  # infer, dense or train, as vgg bench calls them
    batch: int
    size: int
    iters: int  # passes timed in a round
    warmup: int

    @property
    def key(self):
        """The name that --only takes."""
        return f"{self.config}-{self.mode}-{self.size}-b{self.batch}"

    @property
    def title(self):
        if self.mode == "dense":
            return f"{self.config}, dense {self.size}, batch {self.batch}"
        return f"{self.config}, {self.size}, batch {self.batch}"

    @property
    def output(self):
        """Shape of the class scores."""
        side = self.size // 32 - 6
        return [self.batch, 1000] + ([side, side] if self.mode == "dense" else [])


WORKS = (
    Work("D", "infer", 1, 224, iters=15, warmup=3),
    Work("D", "infer", 8, 224, iters=7, warmup=2),
    Work("D", "infer", 32, 224, iters=3, warmup=1),
    Work("D", "dense", 1, 384, iters=9, warmup=2),
    Work("D", "dense", 1, 512, iters=7, warmup=2),
    Work("D", "train", 8, 224, iters=3, warmup=1),
    Work("D", "train", 32, 224, iters=2, warmup=1),
    Work("A", "train", 8, 224, iters=5, warmup=1),
    Work("A", "train", 32, 224, iters=2, warmup=1),
)
