"""Inside Lightning's Trainer: the same weights as a plain loop gives, bit by bit, and logs that are true."""

import pytest
import torch
from torch import nn

from optim.closures import OPTIMIZERS, batch, flat, loss_of, net
from theodolite.optim import NaturalGradient

lightning = pytest.importorskip("lightning")

# Lightning and torchmetrics have warnings of their own.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

NAMES = sorted(set(OPTIMIZERS) - {"saddle-free Newton with inner steps"})
STEPS = 3


def with_statistics():
    """A net whose BatchNorm shows how often it was run."""
    model = nn.Sequential(*net()[:2], nn.BatchNorm1d(5), nn.Linear(5, 3))
    with torch.no_grad():
        model[3].weight.fill_(0.1).add_(torch.arange(5) / 10)
        model[3].bias.zero_()
    return model


def made(name, model):
    """The optimizer; the natural gradient knows its model."""
    return (
        NaturalGradient(model.parameters(), model=model) if "natural" in name else OPTIMIZERS[name](model.parameters())
    )


def halving(optimizer):
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)


class Automatic(lightning.LightningModule):
    """The usual module: a loss, an optimizer, a schedule, a log."""

    def __init__(self, name):
        super().__init__()
        self.name, self.net, self.logged = name, with_statistics(), []

    def training_step(self, data, index):
        loss = loss_of(self.net, data)
        self.log("loss", loss)
        return loss

    def on_train_batch_end(self, outputs, data, index):
        self.logged.append(float(self.trainer.callback_metrics["loss"]))

    def configure_optimizers(self):
        optimizer = made(self.name, self.net)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": halving(optimizer), "interval": "step"}}


class Manual(Automatic):
    """A module that steps by itself."""

    def __init__(self, name):
        super().__init__(name)
        self.automatic_optimization = False

    def training_step(self, data, index):
        optimizer = self.optimizers()

        def closure():
            optimizer.zero_grad()
            loss = loss_of(self.net, data)
            self.manual_backward(loss)
            return loss

        self.log("loss", optimizer.step(closure=closure))
        self.lr_schedulers().step()


def fitted(module, folder, precision="32-true", steps=STEPS, checkpoint=None):
    trainer = lightning.Trainer(
        max_steps=steps,
        max_epochs=-1,
        precision=precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        default_root_dir=folder,
    )
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*batch()), batch_size=20)
    trainer.fit(module, data, ckpt_path=checkpoint)
    return trainer


def looped(name, precision="32-true"):
    """The same by hand."""
    model = with_statistics()
    optimizer, losses = made(name, model), []
    schedule = halving(optimizer)

    def closure():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            loss = loss_of(model, batch())
        loss.backward()
        return loss

    for _ in range(STEPS):
        losses.append(optimizer.step(closure).item())
        schedule.step()
    return model, losses


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [Automatic, Manual])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_trainer_does_as_a_loop(name, make, precision, tmp_path):
    module = make(name)
    fitted(module, tmp_path, precision)
    model, losses = looped(name, precision)
    assert torch.equal(flat(module.net), flat(model))
    assert all(torch.equal(one, other) for one, other in zip(module.net.buffers(), model.buffers(), strict=True))
    assert module.logged == pytest.approx(losses, rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_goes_on_from_a_checkpoint(name, tmp_path):
    whole, half, resumed = (Automatic(name) for _ in range(3))
    fitted(whole, tmp_path, steps=4)
    fitted(half, tmp_path, steps=2).save_checkpoint(tmp_path / "half.ckpt")
    fitted(resumed, tmp_path, steps=4, checkpoint=tmp_path / "half.ckpt")
    assert torch.equal(flat(resumed.net), flat(whole.net))
