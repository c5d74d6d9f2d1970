from django.apps import AppConfig
from django.db.models.signals import post_save, pre_save


class IdentityConfig(AppConfig):
    name = "stocksblitz.identity"

    def ready(self) -> None:
        from django.contrib.auth.models import User
        from django.contrib.auth.signals import user_logged_in, user_logged_out

        from stocksblitz.api import schema  # noqa: F401  (how credentials are shown in the schema registers itself)
        from stocksblitz.identity import clean_up, revocation
        from stocksblitz.workers.clean_up import Task, tasks

        user_logged_in.connect(revocation.open_cookie_login)
        user_logged_out.connect(revocation.close_cookie_login)
        pre_save.connect(revocation.before_user_saved, sender=User)
        post_save.connect(revocation.after_user_saved, sender=User)
        tasks += [
            Task("browser sessions", clean_up.remove_browser_sessions),
            Task("logins", clean_up.remove_logins),
            Task("sign-in attempts", clean_up.remove_attempts),
        ]
