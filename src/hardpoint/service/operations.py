"""What is for whoever runs the service, and for the programs that watch it."""

from fastapi import APIRouter, Depends
from hardpoint.auth import api_keys_router, require_scope
from hardpoint.metrics import metrics_router

from hardpoint.service.access import require_role

__all__ = ["router"]

router = APIRouter()
router.include_router(api_keys_router(guard=Depends(require_role("admin"))))
router.include_router(metrics_router(guard=Depends(require_scope("metrics"))))
