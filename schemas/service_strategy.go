package schemas

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/apis/core"
)

// serviceStrategy is Kubernetes' own but in one thing: Kubernetes gives a service its health check port before it validates it, here the service decider does
// so afterwards. A port that is still to come is no error.
type serviceStrategy struct{ resettingStrategy }

type resettingStrategy interface {
	createStrategy
	rest.ResetFieldsStrategy
}

func (s serviceStrategy) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	return awaitHealthPort(s.resettingStrategy.Validate(ctx, obj), obj)
}

func (s serviceStrategy) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	return awaitHealthPort(s.resettingStrategy.ValidateUpdate(ctx, obj, old), obj)
}

func awaitHealthPort(errs field.ErrorList, obj runtime.Object) field.ErrorList {
	if svc := obj.(*core.Service); !givesHealthPort(svc) || svc.Spec.HealthCheckNodePort != 0 {
		return errs
	}
	var left field.ErrorList
	for _, err := range errs {
		if err.Type != field.ErrorTypeRequired || err.Field != "spec.healthCheckNodePort" {
			left = append(left, err)
		}
	}
	return left
}
