"""Weights that processes share out are pruned as one process prunes them, to the last bit."""

import random

import numpy as np
import pytest
import torch
from together import together
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mgpp import CubicSparsity, GivenMask, MixtureGaussianPrior, Pruner, magnitude_threshold, prunable_weights
from mgpp.methods import METHODS
from mgpp.prior.chunks import CHUNK
from mgpp.prior.penalties import L2
from mgpp.pruning import observer, threshold
from mgpp.pruning.sharded.peers import Peers, PeersError
from mgpp.pruning.sharded.shards import Shards


def share_out(weights, mesh, placements=None):
    """The weights as parameters whose rows lie on different processes."""
    placements = placements or [Shard(0)]
    return {
        name: torch.nn.Parameter(distribute_tensor(weight.clone(), mesh, placements, src_data_rank=None))
        for name, weight in weights.items()
    }


def draw_weights(rng, dtype=torch.float32):
    """Shapes that no number of processes divides, some with fewer rows than processes; many ties."""
    generator = torch.Generator().manual_seed(rng.randrange(1 << 30))
    shapes = [(rng.randint(1, 9), rng.randint(1, 7)) for _ in range(rng.randint(1, 4))] + [(1, 3), (rng.randint(1, 9),)]
    digits = rng.choice([0, 1, 6])
    return {f"w{i}": torch.randn(s, generator=generator).round(decimals=digits).to(dtype) for i, s in enumerate(shapes)}


def make(weights, rng_seed, **more):
    rng = random.Random(rng_seed)
    low, high = sorted((rng.random() * 0.9, rng.random() * 0.95))
    settings = {
        "sparsity": CubicSparsity(low, high, 2, 9),
        "interval": rng.choice([1, 3]),
        "n_train": 10,
        "scope": rng.choice(["global", "global", "matrix"]),
        "allow_regrowth": rng.random() < 0.6,
        "penalty": rng.choice([None, L2(0.1), MixtureGaussianPrior(1e-3, 1e-3, 0.1)]),
    }
    return Pruner(weights, **settings | more)


def train(pruner, steps=range(13), seed=0):
    """Steps of gradient descent on a made-up loss; every process draws the same whole gradients."""
    log = []
    for step in steps:
        generator = torch.Generator().manual_seed(seed + step)
        pruner.begin_step(step)
        for name, weight in pruner.weights.items():
            gradient = torch.randn(weight.shape, generator=generator).round(decimals=1).to(weight.dtype)
            like = Shards({name: weight}).part(name, gradient)
            weight.grad = (
                DTensor.from_local(
                    like, weight.device_mesh, weight.placements, shape=weight.shape, stride=weight.stride()
                )
                if isinstance(weight, DTensor)
                else like
            )
        pruner.before_step(step)
        with torch.no_grad():
            for weight in pruner.weights.values():
                weight -= 0.05 * weight.grad
        pruner.after_step(step)
        log.append((pruner.event, pruner.zeros()))
    return log


def whole(pruner):
    return {n: w.detach().full_tensor() if isinstance(w, DTensor) else w.detach() for n, w in pruner.weights.items()}


def assert_same(shared, alone, rtol=0.0):
    """Weights, masks and everything else that is remembered: bit for bit, or up to rounding (masks always exactly)."""
    ours, theirs = whole(shared) | shared.state_dict(), whole(alone) | alone.state_dict()
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=rtol, atol=rtol / 10, equal_nan=True)


def plain(weights):
    return {name: torch.nn.Parameter(weight.clone()) for name, weight in weights.items()}


def _pairs():
    """A mesh of this process and its neighbour."""
    return init_device_mesh("cpu", (2, 2), mesh_dim_names=("pairs", "pair"))["pair"]


def _prune_like_one(index):
    for world, mesh in ((4, init_device_mesh("cpu", (4,))), (2, _pairs())):
        for seed in range(2 * world):
            rng = random.Random(seed)
            weights = draw_weights(rng, rng.choice([torch.float32, torch.float32, torch.bfloat16, torch.float64]))
            shared, alone = make(share_out(weights, mesh), seed), make(plain(weights), seed)
            assert train(shared, seed=seed) == train(alone, seed=seed), (world, seed)
            assert_same(shared, alone)
            assert shared.audit() == alone.audit()
    copies = init_device_mesh("cpu", (2, 2))  # shards in both dimensions would be tensor parallelism
    for seed in range(30, 32):
        weights = draw_weights(random.Random(seed))
        shared, alone = make(share_out(weights, copies, (Replicate(), Shard(0))), seed), make(plain(weights), seed)
        assert train(shared, seed=seed) == train(alone, seed=seed)
        assert_same(shared, alone)


def _every_method(index):
    mesh = init_device_mesh("cpu", (4,))
    for name, method in METHODS.items():
        weights = draw_weights(random.Random(5))
        if name == "transfer":
            weights = {key: weight * (weight.abs() > 0.3) for key, weight in weights.items()}
        pruners = []
        for kind in (share_out(weights, mesh), plain(weights)):
            torch.manual_seed(3)
            rule = method()
            schedule = rule.schedule(CubicSparsity(0.2, 0.75, 2, 9))
            settings = {"penalty": rule.penalty(schedule), "importance": rule.importance(), "sparsity": schedule}
            pruners.append(make(kind, 1, **settings, scope=rule.scope, freeze=rule.freeze, allow_regrowth=True))
        shared, alone = pruners
        # what is computed of a weight may round otherwise where it stands elsewhere in the processor's vectors
        rtol = 0.0 if alone.importance.by_magnitude else 1e-5
        for steps in (range(6), range(6, 13)):
            assert zeros(train(shared, steps)) == zeros(train(alone, steps)), name
            assert_same(shared, alone, rtol)
            if steps.stop == 6:
                _goes_on_anywhere(name, shared, mesh, rtol)


def zeros(log):
    return [found for _, found in log]


def _goes_on_anywhere(name, pruner, mesh, rtol):
    """What 4 processes remember is taken up by one, by 2, and by 4."""
    state = {key: value.clone() for key, value in pruner.state_dict().items()}
    weights, others = {key: weight.clone() for key, weight in whole(pruner).items()}, []
    for kind in (plain(weights), share_out(weights, _pairs()), share_out(weights, mesh)):
        rule = METHODS[name]()
        settings = {"penalty": rule.penalty(pruner.sparsity), "importance": rule.importance()}
        settings |= {"sparsity": pruner.sparsity, "scope": rule.scope, "freeze": rule.freeze}
        other = make(kind, 1, **settings, allow_regrowth=True)
        other.load_state_dict(state)
        train(other, range(6, 11))
        others.append(other)
    assert_same(others[1], others[0], rtol)
    assert_same(others[2], others[0], rtol)


def _wrapped_models(index):
    """Every method on a model in DDP, and in FSDP2, trained on a part of the rows each."""
    for name, method in METHODS.items():
        results = []
        for kind in ("one", "ddp", "fsdp"):
            torch.manual_seed(2)
            x, model = (
                torch.randn(40, 6),
                torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)),
            )
            if name == "transfer":
                with torch.no_grad():
                    model[0].weight[0] = 0
            mine = x if kind == "one" else x.chunk(4)[index]
            model = DistributedDataParallel(model) if kind == "ddp" else model
            if kind == "fsdp":
                fully_shard(model, mesh=init_device_mesh("cpu", (4,)))
            rule = method()
            schedule = rule.schedule(CubicSparsity(0.2, 0.75, 1, 5))
            settings = {"penalty": rule.penalty(schedule), "importance": rule.importance(), "sparsity": schedule}
            targets = prunable_weights(model, include=r"^\d\.weight")
            pruner = Pruner(targets, **settings, n_train=40, scope=rule.scope, freeze=rule.freeze)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for step in range(7):
                optimizer.zero_grad()
                pruner.begin_step(step)
                (model(mine) - mine[:, :1]).square().mean().backward()
                pruner.before_step(step)
                optimizer.step()
                pruner.after_step(step)
            pruner.audit()
            results.append(whole(pruner))
        for other in results[1:]:
            for key, weight in results[0].items():
                assert torch.equal(other[key] == 0, weight == 0), name
                torch.testing.assert_close(other[key], weight, rtol=1e-4, atol=1e-6)


def _plain_tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor) and not isinstance(leaf, DTensor)]


class Largest(TorchDispatchMode):
    """Remembers the most elements that any new tensor had, or any array that came from all processes."""

    def __init__(self):
        super().__init__()
        self.elements, self.join = 0, Peers.join

    def __enter__(self):
        Peers.join = lambda peers, own: self.see(self.join(peers, own))
        return super().__enter__()

    def __exit__(self, *error):
        Peers.join = self.join
        return super().__exit__(*error)

    def see(self, array):
        self.elements = max(self.elements, array.size)
        return array

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **kwargs or {})
        taken = {leaf.untyped_storage().data_ptr() for leaf in _plain_tensors((args, kwargs))}
        for leaf in _plain_tensors(result):
            if leaf.untyped_storage().data_ptr() not in taken:
                self.elements = max(self.elements, leaf.untyped_storage().nbytes() // 4)
        return result


def _stay_small(index):
    mesh, generator = init_device_mesh("cpu", (4,)), torch.Generator().manual_seed(0)
    weights = {f"w{i}": torch.randn(2_500, 2_000, generator=generator) for i in range(2)}
    shared = share_out(weights, mesh)
    expected = torch.cat([w.flatten() for w in weights.values()]).abs().kthvalue(6_000_000).values.item()
    del weights
    with Largest() as largest:
        assert magnitude_threshold(shared, 6_000_000) == expected
    assert 0 < largest.elements <= CHUNK < 2_500_000 // 2  # of 10 million weights, of which 2.5 million are held here
    threshold.MOST_CANDIDATES, threshold.SMALLEST_SAMPLE = 64, 16  # many rounds, with a share of the candidates
    for k in (1, 5_000_000, 10_000_000):
        magnitudes = torch.cat([w.full_tensor().flatten() for w in shared.values()]).abs()
        assert magnitude_threshold(shared, k, expected=0.5) == magnitudes.kthvalue(k).values.item()


def _fail_alike(index):
    mesh = init_device_mesh("cpu", (4,))
    weights = {"a": torch.ones(8, 2), "b": torch.ones(8, 2)}
    weights["b"][5] = torch.nan  # lies on the third process
    for _ in range(2):
        with pytest.raises(ValueError, match="b"):
            magnitude_threshold(share_out(weights, mesh), 3)
        weights["a"][7] = 2.0
    with pytest.raises(ValueError, match="k=33"):
        magnitude_threshold(share_out(weights, mesh), 33)
    same = plain({"w": torch.arange(10.0)})
    pruner = Pruner(same, sparsity=CubicSparsity(0.5, 0.5, 0, 1), n_train=1)
    pruner.bind(same, copies=Peers.everyone())
    pruner.after_step(0)
    with torch.no_grad():
        same["w"] += index == 2
    with pytest.raises(PeersError, match="different"):
        pruner.after_step(1)
    for placements, words in (((Shard(1),), r"Shard\(0\), on one dimension"), ((Shard(0),), "not sharded as")):
        odd = share_out({"w": torch.ones(4, 4)}, mesh, placements)
        odd["v"] = torch.nn.Parameter(torch.ones(2))
        with pytest.raises(ValueError, match=words):
            Shards({"w": odd["w"]} if placements[0].dim else odd)


def _observe(index):
    weights = draw_weights(random.Random(8))
    shared, alone = Shards(share_out(weights, init_device_mesh("cpu", (4,)))), Shards(weights)
    prior = MixtureGaussianPrior(1e-3, 1e-3, 0.1)
    ours, theirs = (observer.layer_rows(each, 3, prior) for each in (shared, alone))
    assert ours.columns.tolist() == theirs.columns.tolist()
    exact = ["name", "n", "sparsity", "spike_fraction"]
    assert ours[exact].equals(theirs[exact])
    np.testing.assert_allclose(ours[["abs_mean", "abs_std"]], theirs[["abs_mean", "abs_std"]], rtol=1e-6)
    assert observer.histogram_rows(shared, 3).equals(observer.histogram_rows(alone, 3))
    followed = observer.follow(shared, 20)
    assert all(torch.equal(index, observer.follow(alone, 20)[name]) for name, index in followed.items())
    assert observer.trajectory_rows(shared, followed, 3).equals(observer.trajectory_rows(alone, followed, 3))
    mask = {name: weight != 0 for name, weight in weights.items()}
    given, own = GivenMask(mask), GivenMask(mask)
    for importance, target in ((given, shared), (own, alone)):
        importance.attach(target)
    assert given.schedule(CubicSparsity(0, 0.5, 0, 1)) == own.schedule(CubicSparsity(0, 0.5, 0, 1))


def _all(index):
    for part in (_prune_like_one, _every_method, _wrapped_models, _stay_small, _fail_alike, _observe):
        part(index)


@pytest.mark.slow
def test_four_processes_are_one():
    together(4, _all)


def test_a_process_alone_asks_nobody():
    peers = Peers.everyone()
    assert (peers.count, peers.index, peers.are_many) == (1, 0, False)
    assert peers.table([1, 2]).tolist() == [[1, 2]]
    peers.check_same("anything", 1.0)
    assert peers.gather(torch.ones(2))[0].tolist() == [1, 1]
