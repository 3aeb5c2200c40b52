"""Who may call what, how often: token, scope, rate and permission on the document, in this order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from .auth import TokenService
from .switches import Limits, Switches
from .wire import ApiError, Kind, RateWindows, Request, Route, quota_used_up, rate_limited, sheet_error

__all__ = ["Gate"]

_DAY: Final = 24 * 3600.0
_MONTH: Final = 30 * _DAY


class Gate:
    """Lets a request pass or raises the error that Feishu gives. Not thread-safe by itself."""

    def __init__(
        self,
        tokens: TokenService,
        spreadsheet_token: str,
        wiki_token: str,
        limits: Limits,
        switches: Switches,
        clock: Callable[[], float],
    ) -> None:
        self.limits = limits
        self.switches = switches
        self.clock = clock
        #: set when the stand-in stops, so that nobody waits any longer
        self.closing = threading.Event()
        self._tokens = tokens
        self._spreadsheet_token = spreadsheet_token
        self._wiki_token = wiki_token
        self._windows = RateWindows(clock)

    def pause(self, seconds: float) -> None:
        """Be slow, on purpose."""
        self.closing.wait(seconds)

    def revoke_token_of(self, request: Request, status: int) -> None:
        """The token of this request becomes invalid, and the request is told so."""
        authorization = request.headers.get("Authorization")
        self._tokens.revoke(self._tokens.check(authorization, status))
        self._tokens.check(authorization, status)

    def admit(self, request: Request, route: Route) -> None:
        """Raise ApiError unless the request may be carried out."""
        if route.kind is not Kind.OPEN:
            self._tokens.check(request.headers.get("Authorization"), self.switches.invalid_token_status)
            self._check_app()
            self._check_month()
        self._check_scopes(route)
        self._check_rate(route)
        if "spreadsheet" in request.params:
            self._check_document(request, route)
        denied = {"medias": self.switches.document_access == "none", "files": not self.switches.folder_access}
        if "/drive/" in request.path and denied.get(request.segments[3]):
            raise self.not_added(request.path)

    def scope_missing(self, route: Route) -> ApiError:
        """The app lacks every scope that would do."""
        message = f"Access denied. One of the following scopes is required: [{', '.join(route.scopes)}]"
        missing = [{"type": "action_scope_required", "subject": scope} for scope in route.scopes]
        # A page that only a person can open; it grants what is asked for.
        url = f"https://open.feishu.cn/app/{self._tokens.app_id}/auth?q={','.join(route.scopes)}&op_from=openapi"
        helps = [{"url": f"{url}&token_type=tenant", "description": "grant one of the scopes"}]
        return ApiError(99991672, message, 400, error={"permission_violations": missing, "helps": helps})

    def not_added(self, path: str) -> ApiError:
        """The app has the scope, but nobody gave it the document or folder."""
        if "/drive/" in path:
            return ApiError(1061004, "forbidden.", 403)
        if "/sheets/v3/" in path:
            return sheet_error(1310213, "permission denied", self.switches.sheet_error_status)
        return sheet_error(90213, "permission denied", self.switches.sheet_error_status)

    def _check_app(self) -> None:
        """Calls for a token are not concerned: Feishu's page on the list of addresses says so."""
        if not self.switches.app_enabled:
            raise ApiError(99991662, "app not in use", 400)
        if self.switches.denied_ip:
            raise ApiError(99991401, f"ip {self.switches.denied_ip} is denied by app setting", 400)

    def _check_month(self) -> None:
        if not self._windows.admit("month", self.limits.calls_per_month, _MONTH):
            raise quota_used_up()

    def _check_scopes(self, route: Route) -> None:
        if not route.scopes or self.switches.scopes is None or self.switches.scopes & set(route.scopes):
            return
        raise self.scope_missing(route)

    def _check_rate(self, route: Route) -> None:
        if route.kind is Kind.UPLOAD:
            in_second = self._windows.admit(route.operation, self.limits.uploads_per_second)
            if not in_second or not self._windows.admit(route.operation, self.limits.uploads_per_day, _DAY):
                raise ApiError(1061045, "resource contention occurred, please retry")
        rates = {
            Kind.READ: (self.limits.sheet_calls_per_second, 1.0),
            Kind.READ_V3: (self.limits.sheet_v3_calls_per_minute, 60.0),
            Kind.WRITE: (self.limits.sheet_calls_per_second, 1.0),
            Kind.DOWNLOAD: (self.limits.downloads_per_second, 1.0),
        }
        limit, seconds = rates.get(route.kind, (None, 1.0))
        if not self._windows.admit(route.operation, limit, seconds):
            raise rate_limited(429, limit or 0, str(self._windows.wait(route.operation, seconds)))

    def _check_document(self, request: Request, route: Route) -> None:
        new = "/sheets/v3/" in request.path
        asked, missing = request.params["spreadsheet"], 1310214 if new else 90214
        if new and asked == self._wiki_token:
            missing = self.switches.wiki_token_code
        if asked != self._spreadsheet_token:
            raise sheet_error(missing, "spreadsheet not found", self.switches.sheet_error_status)
        needed = {"edit"} if route.kind is Kind.WRITE else {"edit", "view"}
        if self.switches.document_access not in needed:
            raise self.not_added(request.path)
