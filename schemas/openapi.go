package schemas

type openAPI struct{}

func newOpenAPI(r *Registry) *openAPI { return &openAPI{} }
