"""Text that is a credential."""


class Secret(str):
    """A credential; where it is shown with other values (a list of settings, a traceback) it shows nothing.

    It is text like any other, so that libraries may use it.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('…')"
