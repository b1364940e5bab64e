"""Mixed images are what their targets say: so much of the one, the rest of the other."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from trainer.mix import Targets, mix, mixes
from trainer.recipe import Augment

SIDE = 16
MIXUP, CUTMIX = Augment(mixup=0.4), Augment(cutmix=1.0)
BOTH = Augment(mixup=0.4, cutmix=1.0)


def flat(count: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images that are filled with their own number, uint8 [N, H, W, 3], and the numbers as labels."""
    labels = torch.arange(count)
    return labels[:, None, None, None].expand(-1, SIDE, SIDE, 3).to(torch.uint8), labels


def mixed(settings: Augment, seed: int = 0, count: int = 64) -> tuple[torch.Tensor, Targets]:
    return mix(*flat(count), settings, torch.Generator().manual_seed(seed))


def parts(targets: Targets) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    assert targets.partners is not None
    assert targets.share is not None
    return targets.labels, targets.partners, targets.share


def test_mixup_blends_every_pixel_by_the_share() -> None:
    images, targets = mixed(MIXUP)
    labels, partners, share = parts(targets)
    expected = share * labels + (1 - share) * partners
    assert torch.allclose(images, expected[:, None, None, None].expand_as(images), atol=1e-4)
    assert float(share.min()) >= 0
    assert float(share.max()) <= 1
    assert len(set(share.tolist())) == 64, "each image draws its own share"


def test_cutmix_pastes_one_rectangle_and_its_share_is_what_was_pasted() -> None:
    images, targets = mixed(CUTMIX)
    labels, partners, share = parts(targets)
    for image, label, partner, kept in zip(images, labels, partners, share, strict=True):
        pasted = (image != label).all(-1)
        assert (image[pasted] == partner).all()
        assert int(pasted.sum()) == int(pasted.any(1).sum() * pasted.any(0).sum()), "what is pasted is no rectangle"
        if label != partner:
            assert float(kept) == pytest.approx(1 - float(pasted.float().mean()), abs=1e-6)
    assert 0.2 < float((share < 0.7).float().mean()) < 0.9


def test_with_both_each_image_draws_one_of_them() -> None:
    images, targets = mixed(BOTH, count=256)
    labels, partners, share = parts(targets)
    values = torch.tensor([len(image.unique()) for image in images])
    really = (labels != partners) & (share > 0.01) & (share < 0.99)
    pasted = (values == 2)[really]
    blended = ((images[:, 0, 0, 0] != labels) & (images[:, 0, 0, 0] != partners))[really]
    assert not (pasted & blended).any()
    assert 0.3 < float(pasted.float().mean()) < 0.7


@pytest.mark.parametrize("settings", [MIXUP, CUTMIX, BOTH])
def test_a_share_of_the_images_is_left_alone(settings: Augment) -> None:
    images, targets = mixed(settings.model_copy(update={"mix_share": 0.25}), count=250)
    labels, _, share = parts(targets)
    alone = share == 1
    assert 0.6 < float(alone.float().mean()) < 0.9
    assert (images[alone] == labels[alone][:, None, None, None]).all()


@pytest.mark.parametrize("settings", [MIXUP, CUTMIX, BOTH])
def test_the_seed_decides_and_nothing_else(settings: Augment) -> None:
    first, targets = mixed(settings)
    torch.rand(7)  # the global generator has no say
    again, same = mixed(settings)
    assert torch.equal(first, again)
    assert all(torch.equal(a, b) for a, b in zip(parts(targets), parts(same), strict=True))
    assert not torch.equal(first, mixed(settings, seed=1)[0])
    assert first.dtype == torch.float32
    assert float(first.min()) >= 0
    assert float(first.max()) <= 63


def test_the_loss_weighs_both_classes_by_their_shares() -> None:
    logits = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    labels, partners = torch.arange(8) % 5, (torch.arange(8) + 2) % 5
    share = torch.linspace(0, 1, 8)
    soft = share[:, None] * F.one_hot(labels, 5) + (1 - share[:, None]) * F.one_hot(partners, 5)
    for smoothing in (0.0, 0.1):
        expected = F.cross_entropy(logits, soft, label_smoothing=smoothing)
        assert torch.allclose(Targets(labels, partners, share).loss(logits, smoothing), expected, atol=1e-6)
        plain = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        assert torch.equal(Targets(labels).loss(logits, smoothing), plain)


def test_mixing_is_off_unless_told() -> None:
    assert not mixes(Augment())
    assert not mixes(Augment(mixup=0.2, mix_share=0.0))
    assert mixes(MIXUP)
    assert mixes(CUTMIX)
