from django.apps import AppConfig


class PortfolioConfig(AppConfig):
    name = "portfolio"

    def ready(self) -> None:
        from stocksblitz.workers.clean_up import Task, tasks

        tasks.append(Task("idempotency keys", forget_old_keys))


def forget_old_keys() -> int:
    """Remove idempotency keys that nobody can be retrying any more; return how many."""
    from portfolio.services.idempotency import forget_old

    return forget_old()
