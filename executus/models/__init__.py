"""Model providers: adapters, tiers, failover, health, prices. Used by activities only."""
