"""What chaos tests share: a fleet that can be hurt, a storm that hurts it, an audit of what came of it."""
