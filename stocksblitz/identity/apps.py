from django.apps import AppConfig
from django.db.models.signals import post_save, pre_save


class IdentityConfig(AppConfig):
    name = "stocksblitz.identity"

    def ready(self) -> None:
        from django.contrib.auth.models import User
        from django.contrib.auth.signals import user_logged_in, user_logged_out

        from stocksblitz import openapi  # noqa: F401  (how credentials are shown in the schema registers itself)
        from stocksblitz.identity import access

        user_logged_in.connect(access.open_cookie_login)
        user_logged_out.connect(access.close_cookie_login)
        pre_save.connect(access.before_user_saved, sender=User)
        post_save.connect(access.after_user_saved, sender=User)
