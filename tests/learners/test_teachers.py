from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from snn4.learners.teachers import Teacher
from snn4.policies.networks.ann import twin
from snn4.policies.networks.architectures import make_architecture
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.networks.rescaled import Rescaled

NET = ConvNetConfig(channels=(4, 8), in_channels=1, n_classes=3, image_size=(8, 8), T=2)
SCALES = ((0.5,), (0.5,)), ((0.1,), (1.0,))


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def networks() -> list[nn.Module]:
    torch.manual_seed(0)
    return [SpikingConvNet(NET), twin(NET), Rescaled(twin(NET), *SCALES)]


@pytest.mark.parametrize("events", [False, True])
def test_scores_are_logarithms_of_mean_probabilities(events: bool) -> None:
    spiking, ann, scaled = networks()
    teacher, x = Teacher([spiking, ann, scaled]), draw(3, 5, 1, 8, 8) if events else draw(5, 1, 8, 8)
    seen = x.mean(0) if events else x
    with torch.no_grad():
        alone = [spiking.eval()(x), ann.eval()(seen), scaled.eval()(seen)]
    assert torch.equal(teacher.logits(x), torch.stack(alone))
    expected = torch.stack([scores.softmax(-1) for scores in alone]).mean(0)
    torch.testing.assert_close(teacher(x).exp(), expected)


def test_a_sure_teacher_has_finite_scores() -> None:
    readout = nn.Linear(2, 2)
    nn.init.constant_(readout.weight, 1e4)
    nn.init.constant_(readout.bias, 0.0)
    readout.weight.data[1] = -1e4
    assert torch.isfinite(Teacher([nn.Sequential(nn.Flatten(), readout)])(torch.ones(3, 1, 1, 2))).all()


def test_a_teacher_never_changes() -> None:
    teacher = Teacher(networks()).train()
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    before = {name: x.clone() for name, x in teacher.state_dict().items()}
    assert not teacher.logits(draw(5, 1, 8, 8).requires_grad_()).requires_grad
    assert all(torch.equal(x, before[name]) for name, x in teacher.state_dict().items())


def test_the_digest_is_that_of_everything_that_answers() -> None:
    teacher = Teacher(networks())
    assert teacher.digest == copy.deepcopy(teacher).digest
    others = [networks() for _ in range(3)]
    next(others[0][1].parameters()).data.flatten()[0] += 1e-6
    others[1][2] = Rescaled(twin(NET), SCALES[1], SCALES[1])
    others[2].pop()
    slower = networks()
    slower[0] = SpikingConvNet(ConvNetConfig(channels=(4, 8), in_channels=1, n_classes=3, image_size=(8, 8), T=3))
    slower[0].load_state_dict(networks()[0].state_dict())
    digests = [Teacher(some).digest for some in (*others, slower)]
    assert len({teacher.digest, *digests}) == 5


@pytest.mark.parametrize(
    ("network", "message"),
    [(make_architecture("resnet-20-a", 3, 1), None), (make_architecture("resnet-20-a", 4, 1), r"got scores \(5, 4\), "),
     (make_architecture("resnet-20-a", 3, 3), "cannot take the data's images of .1, 8, 8.: "),
     (twin(ConvNetConfig(channels=(4,), in_channels=1, n_classes=3, image_size=(9, 9))), "cannot take the data's"),
     (nn.LSTM(8, 3), "theirs: ")],
    ids=["fits", "classes", "channels", "size", "no classifier"],
)  # fmt: skip
def test_teachers_that_cannot_take_the_data(network: nn.Module, message: str | None) -> None:
    teacher, x = Teacher([network]), draw(5, 1, 8, 8)
    if message is None:
        teacher.check(x, 3, ["theirs"])
        return
    with pytest.raises(ValueError, match=message) as caught:
        teacher.check(x, 3, ["theirs"])
    assert len(str(caught.value).splitlines()) == 1


def test_scores_that_are_not_finite() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    nn.init.constant_(network[1].weight, torch.inf)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="theirs: got scores that are NaN or infinite"):
        Teacher([network]).check(draw(5, 1, 8, 8), 3, ["theirs"])
