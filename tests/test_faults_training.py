"Training that diverges inside a batch (F18)."
from paper_repro.batch.catalogue import catalogue
from paper_repro.batch.jobs import make_jobs
from paper_repro.batch.run import Batch
from paper_repro.core.files import load_tensors
from small_checkout import make_checkout, notebook

DIVERGES = '''
import torch
from pathlib import Path
from paper_repro.train.loop import train
torch.set_num_threads(1)
torch.manual_seed(0)
gen = torch.Generator().manual_seed(0)
x, y = torch.rand(64, 4, generator=gen), torch.arange(64) % 2
net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
train(net, x, y, epochs=4, bs=16, schedule=lambda epoch: 1. if epoch < 2 else 1e30, seed=7,
      checkpoint=Path(out_dir)/'cache/checkpoint.safetensors')
save('diverges')
'''


def test_nan_loss_fails_the_item_with_step_and_seed_and_keeps_the_checkpoint_before(tmp_path):
    root = make_checkout(tmp_path, diverges=notebook('diverges', DIVERGES), good=notebook('good', "save('good')"))
    jobs = make_jobs(catalogue(root), 'smoke')
    batch = Batch(jobs, root/'figures', root=root, keep_going=True, say=lambda line: None)
    assert batch.run() == 1
    rows = {k.split('/')[1]: r for k, r in batch.rows.items()}
    assert (rows['diverges'].status, rows['good'].status) == ('failed', 'done')
    for said in ('loss is not finite at epoch', 'step', 'seed 7'): assert said in rows['diverges'].reason
    assert not (root/'figures/demo/diverges/smoke/result.json').exists()
    tensors, _ = load_tensors(root/'figures/cache/checkpoint.safetensors')
    assert all(t.isfinite().all() for t in tensors.values() if t.is_floating_point())
