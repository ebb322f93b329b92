"Image operators under faults: unknown names (F26), wrong images (F27), values out of range (F28), global states (F33)."
import random

import numpy as np
import pytest
import torch

from paper_repro.ops.image import OPS, apply_op, apply_ops
from paper_repro.ops.operators import as_float, as_uint8
from paper_repro.ops.spaces import SPACES, space

IMAGES = torch.randint(0, 256, (6, 3, 20, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
OWN = {'Posterize': 4, 'Solarize': 128, 'SolarizeAdd': 60, 'Cutout': 5}
MIDDLE = {name: OWN.get(name, (o.identity or 0) + .3) if o.unit else 0. for name, o in OPS.items()}
both = pytest.mark.parametrize('images', [IMAGES, as_float(IMAGES)], ids=['uint8', 'float'])
every = pytest.mark.parametrize('name', OPS)


# F26

@pytest.mark.parametrize('wrong, near', [('rotate', 'Rotate'), ('Shear X', 'ShearX'), ('Solarise', 'Solarize')])
def test_unknown_operator_names_the_nearest(wrong, near):
    for call in (lambda: apply_op(IMAGES, wrong, 1), lambda: apply_ops(IMAGES, ['Invert']*5 + [wrong], 1)):
        with pytest.raises(ValueError, match=f'unknown operator {wrong!r}.*known: .*did you mean {near!r}'): call()


def test_unknown_space_and_operator_of_a_space_list_the_known():
    with pytest.raises(ValueError, match="did you mean 'randaugment'"): space('randaugmnt')
    with pytest.raises(ValueError, match="unknown operator of space 'dra' 'Identity'; known: 'ShearX'"):
        SPACES['dra'].value('Identity', .5)


# F27

WRONG = {
    'one image': (IMAGES[0], ValueError, r'shape \(B, C, H, W\)'),
    'H x W': (IMAGES[0, 0], ValueError, r'x\[None\]'),
    'two channels': (IMAGES[:, :2], ValueError, '1 or 3 channels'),
    'four channels': (IMAGES.repeat(1, 2, 1, 1)[:, :4], ValueError, 'alpha'),
    '0..255 floats': (IMAGES.float(), ValueError, 'by 255'),
    'normalised': (as_float(IMAGES) - .5, ValueError, 'normalisation'),
    'nan': (as_float(IMAGES) * float('nan'), ValueError, r'lie in \[0, 1\]'),
    'inf': (as_float(IMAGES).masked_fill(IMAGES == 7, float('inf')), ValueError, 'inf'),
    'int32': (IMAGES.int(), TypeError, 'uint8, or float'),
    'bool': (IMAGES > 99, TypeError, 'uint8, or float'),
    'array': (IMAGES.numpy(), TypeError, 'torch tensor'),
    'none': (None, TypeError, 'torch tensor'),
}


@pytest.mark.parametrize('kind', WRONG)
def test_images_of_the_wrong_kind_are_refused(kind):
    images, error, text = WRONG[kind]
    with pytest.raises(error, match=text): apply_op(images, 'Rotate', 10)


def test_conversions_are_asked_for_and_lossless():
    assert as_uint8(as_float(IMAGES)).equal(IMAGES)
    with pytest.raises(TypeError, match='uint8'): as_float(IMAGES.float())
    with pytest.raises(TypeError, match='float'): as_uint8(IMAGES)


@every
@both
def test_any_size_channels_and_number_of_images(name, images):
    one, line, corner = images[..., :1, :1], images[..., :1], images[..., :2, :2]
    for x in (images[:0], images[:1], images[:, :1], images[:, :, :0], one, line, corner):
        y = apply_op(x, name, MIDDLE[name])
        assert (y.shape, y.dtype, y.device) == (x.shape, x.dtype, x.device)


@both
def test_empty_batch_returns_empty(images):
    assert apply_ops(images[:0], [], []).shape == (0, 3, 20, 16)
    assert apply_ops(images[:0], torch.zeros(0, dtype=torch.long), torch.zeros(0)).dtype == images.dtype


@every
@both
def test_the_input_is_left_alone_and_shares_nothing_with_the_result(name, images):
    before = images.clone()
    y = apply_op(images, name, MIDDLE[name])
    y.zero_()
    assert images.equal(before)


@every
def test_result_stays_in_range(name):
    y = apply_op(as_float(IMAGES), name, MIDDLE[name])
    assert y.isfinite().all() and y.min() >= -1e-6 and y.max() <= 1 + 1e-6


# F28

@pytest.mark.parametrize('name', [n for n, o in OPS.items() if o.unit])
@both
def test_value_out_of_range_names_operator_range_and_image(name, images):
    o = OPS[name]
    for v in (o.low - 1, o.high + 1, float('nan'), float('inf')):
        with pytest.raises(ValueError, match=rf'{name} takes a value .* from .* to .*; got .* for image 0'):
            apply_op(images, name, v)
    v = torch.full((6,), float(MIDDLE[name]))
    v[4] = o.high + 1
    with pytest.raises(ValueError, match='for image 4'): apply_op(images, name, v)


@pytest.mark.parametrize('m', [-.1, 1.1, float('nan'), 99])
def test_magnitude_out_of_range_names_the_range(m):
    with pytest.raises(ValueError, match=r"magnitudes of space 'randaugment' lie in \[0, 1\]"):
        SPACES['randaugment'].value('Rotate', m)


# F33

def test_global_random_states_are_neither_read_nor_changed():
    names, results = list(OPS), []
    x = IMAGES[:1].repeat(len(names), 1, 1, 1)
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        before = random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()
        results.append([apply_ops(i, names, list(MIDDLE.values()), seed=5) for i in (x, as_float(x))])
        assert (random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()) == before
    assert all(a.equal(b) for a, b in zip(*results))
