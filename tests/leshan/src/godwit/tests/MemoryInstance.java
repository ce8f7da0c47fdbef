package godwit.tests;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentSkipListMap;
import org.eclipse.leshan.client.resource.BaseInstanceEnabler;
import org.eclipse.leshan.client.servers.LwM2mServer;
import org.eclipse.leshan.core.ResponseCode;
import org.eclipse.leshan.core.model.ObjectModel;
import org.eclipse.leshan.core.model.ResourceModel;
import org.eclipse.leshan.core.node.LwM2mMultipleResource;
import org.eclipse.leshan.core.node.LwM2mPath;
import org.eclipse.leshan.core.node.LwM2mResource;
import org.eclipse.leshan.core.node.LwM2mResourceInstance;
import org.eclipse.leshan.core.node.LwM2mSingleResource;
import org.eclipse.leshan.core.request.argument.Arguments;
import org.eclipse.leshan.core.response.ExecuteResponse;
import org.eclipse.leshan.core.response.ReadResponse;
import org.eclipse.leshan.core.response.WriteResponse;

/** An instance of any object whose values are in memory, and which tells what a server does to it. */
final class MemoryInstance extends BaseInstanceEnabler {
    private final Client client;
    private final Map<Integer, LwM2mResource> values = new ConcurrentSkipListMap<>();
    /** What a resource answers in place of what it would. */
    private final Map<Integer, ResponseCode> refusals = new ConcurrentSkipListMap<>();

    MemoryInstance(Client client) {
        this.client = client;
    }

    /** Sets a value of this side, by text. Observers are told if `fire`. */
    void set(LwM2mPath path, String text, boolean fire) {
        int id = path.getResourceId();
        ResourceModel resource = model.resources.get(id);
        Object value = Values.parse(resource.type, text);
        if (resource.multiple) {
            Map<Integer, Object> instances = new LinkedHashMap<>();
            LwM2mResource before = values.get(id);
            if (before != null) {
                before.getInstances().forEach((at, instance) -> instances.put(at, instance.getValue()));
            }
            instances.put(path.getResourceInstanceId(), value);
            values.put(id, LwM2mMultipleResource.newResource(id, instances, resource.type));
        } else {
            values.put(id, LwM2mSingleResource.newResource(id, value, resource.type));
        }
        if (fire) {
            fireResourcesChange(resource.multiple ? path : getResourcePath(id));
        }
    }

    LwM2mResource value(int resource) {
        return values.get(resource);
    }

    void refuse(int resource, ResponseCode code) {
        refusals.put(resource, code);
    }

    @Override
    public ReadResponse read(LwM2mServer server, int resource) {
        ResponseCode refusal = refusals.get(resource);
        if (refusal != null) {
            return new ReadResponse(refusal, null, null, "as told");
        }
        LwM2mResource value = values.get(resource);
        return value == null ? ReadResponse.notFound() : ReadResponse.success(value);
    }

    @Override
    public WriteResponse write(LwM2mServer server, boolean replace, int resource, LwM2mResource value) {
        ResponseCode refusal = refusals.get(resource);
        if (refusal != null) {
            return new WriteResponse(refusal, "as told");
        }
        LwM2mResource before = values.get(resource);
        if (value.isMultiInstances() && !replace && before != null) {
            Map<Integer, Object> instances = new LinkedHashMap<>();
            before.getInstances().forEach((at, instance) -> instances.put(at, instance.getValue()));
            value.getInstances().forEach((at, instance) -> instances.put(at, instance.getValue()));
            values.put(resource, LwM2mMultipleResource.newResource(resource, instances, value.getType()));
        } else {
            values.put(resource, value);
        }
        client.event("write", "replace", replace, "values", Values.texts(path(), value));
        fireResourcesChange(getResourcePath(resource));
        return WriteResponse.success();
    }

    @Override
    public WriteResponse write(
            LwM2mServer server, boolean replace, int resource, int instance, LwM2mResourceInstance value) {
        LwM2mResource before = values.get(resource);
        if (before == null || before.getInstance(instance) == null) {
            return WriteResponse.notFound();
        }
        return write(
                server,
                false,
                resource,
                LwM2mMultipleResource.newResource(resource, Map.of(instance, value.getValue()), value.getType()));
    }

    @Override
    public ExecuteResponse execute(LwM2mServer server, int resource, Arguments arguments) {
        ResponseCode refusal = refusals.get(resource);
        if (refusal != null) {
            return new ExecuteResponse(refusal, "as told");
        }
        client.event(
                "execute",
                "path",
                path() + "/" + resource,
                "arguments",
                arguments == null ? "" : arguments.serialize());
        return ExecuteResponse.success();
    }

    @Override
    public void reset(int resource) {
        values.remove(resource);
    }

    @Override
    public void onDelete(LwM2mServer server) {
        client.event("delete", "path", path());
    }

    @Override
    public List<Integer> getAvailableResourceIds(ObjectModel model) {
        List<Integer> ids = new ArrayList<>(values.keySet());
        for (ResourceModel resource : model.resources.values()) {
            if (resource.operations.isExecutable()) {
                ids.add(resource.id);
            }
        }
        ids.sort(null);
        return ids;
    }

    private String path() {
        return "/" + model.id + "/" + id;
    }
}
