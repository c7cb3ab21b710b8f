"""PyTorch: a small network learns; all losses, weights and moments in the digest."""

from kitlib import Digest, half_way, not_here, number, say

try:
    import torch
except ImportError as error:
    not_here(f"PyTorch cannot be imported: {error}")

STEPS = 40


def main():
    if torch.version.cuda is None:
        not_here(f"PyTorch {torch.__version__} is built without CUDA")
    if not torch.cuda.is_available():
        torch.cuda.init()  # says why
    torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.manual_seed(7)
    device = torch.device("cuda")
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(16 * 16 * 16, 64),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.1),
        torch.nn.Linear(64, 10),
    ).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    images = torch.randn(256, 3, 16, 16, device=device)
    labels = torch.randint(0, 10, (256,), device=device)
    side = torch.cuda.Stream()

    def busy():
        with torch.cuda.stream(side):
            (images * 2).sum()

    for step in range(STEPS):
        if step == STEPS // 2:
            half_way(busy)
        chosen = torch.randint(0, 256, (64,), device=device)
        loss = torch.nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        say(f"step {step} loss {number(loss.item())}")
    digest = Digest()
    for tensor in model.state_dict().values():
        digest.add(tensor.cpu().numpy().tobytes())
    for state in optimizer.state_dict()["state"].values():
        for name in ("exp_avg", "exp_avg_sq"):
            digest.add(state[name].cpu().numpy().tobytes())
    digest.end()


main()
