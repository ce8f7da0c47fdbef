package godwit.tests;

import java.util.ArrayList;
import java.util.List;
import org.eclipse.leshan.core.model.LwM2mModel;
import org.eclipse.leshan.core.model.ObjectLoader;
import org.eclipse.leshan.core.model.ObjectModel;
import org.eclipse.leshan.core.model.ResourceModel;
import org.eclipse.leshan.core.model.ResourceModel.Operations;
import org.eclipse.leshan.core.model.ResourceModel.Type;
import org.eclipse.leshan.core.model.StaticModel;

/** The objects that the clients have: Leshan's own, Temperature (3303) and the object of all types (3442). */
final class Models {
    /** The resource of each type in object 3442; the multiple one has this id plus 1000. */
    private static final Object[][] TYPES = {
        {110, Type.STRING},
        {120, Type.INTEGER},
        {125, Type.UNSIGNED_INTEGER},
        {130, Type.FLOAT},
        {140, Type.BOOLEAN},
        {150, Type.OPAQUE},
        {160, Type.TIME},
        {170, Type.OBJLNK},
        {180, Type.CORELINK},
    };

    private Models() {}

    static LwM2mModel all() {
        List<ObjectModel> models = new ArrayList<>(ObjectLoader.loadDefault());
        models.add(temperature());
        models.add(types());
        return new StaticModel(models);
    }

    private static ObjectModel temperature() {
        return new ObjectModel(
                3303,
                "Temperature",
                "",
                "1.0",
                true,
                false,
                resource(5601, Operations.R, false, Type.FLOAT),
                resource(5602, Operations.R, false, Type.FLOAT),
                resource(5605, Operations.E, false, Type.NONE),
                resource(5700, Operations.R, false, Type.FLOAT),
                resource(5701, Operations.R, false, Type.STRING));
    }

    private static ObjectModel types() {
        List<ResourceModel> resources = new ArrayList<>();
        resources.add(resource(3, Operations.E, false, Type.NONE));
        for (Object[] type : TYPES) {
            resources.add(resource((Integer) type[0], Operations.RW, false, (Type) type[1]));
            resources.add(resource((Integer) type[0] + 1000, Operations.RW, true, (Type) type[1]));
        }
        return new ObjectModel(
                3442, "Test", "", "1.0", true, false, resources.toArray(new ResourceModel[0]));
    }

    private static ResourceModel resource(int id, Operations operations, boolean multiple, Type type) {
        return new ResourceModel(id, "Resource " + id, operations, multiple, false, type, "", "", "");
    }
}
