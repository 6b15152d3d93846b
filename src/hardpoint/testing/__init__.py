"""For the tests of your application: signing in without passwords.

`pytest_plugins = ["hardpoint.testing.plugin"]` in your `conftest.py` gives the fixture `sign_in`.
"""

from hardpoint.testing.signing_in import bearer, signed_in

__all__ = ["bearer", "signed_in"]
