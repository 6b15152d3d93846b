"""For the tests of your application: signing in without passwords, and following channels.

`pytest_plugins = ["hardpoint.testing.plugin"]` in your `conftest.py` gives the fixture `sign_in`.
"""

from hardpoint.testing.live import LiveSocket, live_socket
from hardpoint.testing.signing_in import bearer, signed_in

__all__ = ["LiveSocket", "bearer", "live_socket", "signed_in"]
